"""A host's directory: whatever it answers, Fairlane works with what the protocol promises (R19)."""

from collections import UserDict
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest

from fairlane import ConfigurationError, Membership, OrganizationStatus, Role, Standing, StorageUnavailable
from fairlane.tenancy.host_directory import HostDirectory

ACTIVE = Standing(OrganizationStatus.ACTIVE)
ANA = ("acme", "ana")
# Whoever writes a directory without a type checker may hand over anything.
UNTYPED: Any = SimpleNamespace(Standing=Standing, Membership=Membership)


class Host:
    """It counts what it is asked, and answers what the test says."""

    def __init__(self) -> None:
        self.asked: list[set[Any]] = []
        self.standings: Any = {"acme": ACTIVE, "rival": ACTIVE}
        self.memberships: Any = {ANA: Membership(Role.MEMBER)}
        self.on_question: Callable[[], object] = lambda: None

    def organizations(self, ids: Collection[str]) -> Any:
        return self._answer(self.standings, ids)

    def members(self, pairs: Collection[tuple[str, str]]) -> Any:
        return self._answer(self.memberships, pairs)

    def _answer(self, answers: Any, keys: Collection[Any]) -> Any:
        self.asked.append(set(keys))
        found = {key: answers[key] for key in keys if key in answers} if isinstance(answers, dict) else answers
        self.on_question()
        return found


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def directory(host: Host, clock: SimpleNamespace) -> HostDirectory:
    return HostDirectory(host, lambda: clock.now)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "`organizations` answered a NoneType instead of a mapping"),
        (["acme"], "answered a list instead of a mapping"),
        ({"acme": True}, "answered a bool where a Standing belongs"),
        ({"acme": UNTYPED.Standing("active")}, "whose status is a str, not an OrganizationStatus"),
        ({"acme": Standing(OrganizationStatus.ACTIVE, -1)}, "max_live_jobs is neither None nor a whole number from 0"),
    ],
    ids=["None", "list", "bool", "status", "limit"],
)
def test_an_answer_of_the_wrong_form_about_organizations_is_named(
    directory: HostDirectory, host: Host, answer: Any, sentence: str
) -> None:
    host.standings = answer
    with pytest.raises(ConfigurationError, match=sentence) as error:
        directory.organizations(["acme"])
    assert "acme" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("member", "`members` answered a str instead of a mapping"),
        ({ANA: Role.MEMBER}, "answered a Role where a Membership belongs"),
        ({ANA: UNTYPED.Membership("admin")}, "whose role is a str, not a Role"),
        ({ANA: UNTYPED.Membership(Role.MEMBER, "reports")}, "permissions are not a set of names"),
    ],
    ids=["str", "role alone", "role", "permissions"],
)
def test_an_answer_of_the_wrong_form_about_members_is_named(
    directory: HostDirectory, host: Host, answer: Any, sentence: str
) -> None:
    host.memberships = answer
    with pytest.raises(ConfigurationError, match=sentence):
        directory.members([ANA])


def test_an_answer_about_somebody_else_is_refused(directory: HostDirectory, host: Host) -> None:
    host.standings = UserDict(host.standings)
    with pytest.raises(ConfigurationError, match="answered more than it was asked for"):
        directory.organizations(["acme"])


def test_whatever_its_code_raises_is_an_outage(directory: HostDirectory, host: Host) -> None:
    host.on_question = lambda: 1 // 0
    with pytest.raises(StorageUnavailable) as refused:
        directory.organizations(["acme"])
    assert str(refused.value) == (
        "The directory's `organizations` raised ZeroDivisionError: integer division or modulo by zero; nothing was "
        "changed. If that is no passing outage, mend its code."
    )


def test_it_is_not_asked_about_what_can_be_no_id(directory: HostDirectory, host: Host) -> None:
    odd: Any = 7
    assert directory.organizations(["a,b", "a\0b", "", odd]) == {}
    assert directory.members([("acme", "a\ud800b"), ("a/b", "ana"), (odd, "ana")]) == {}
    assert host.asked == []


def test_answers_are_kept_as_long_as_the_asker_allows(
    directory: HostDirectory, host: Host, clock: SimpleNamespace
) -> None:
    for _ in range(3):
        assert directory.organizations(["acme"], max_age=5) == {"acme": ACTIVE}
        clock.now += 2
    assert directory.organizations(["acme", "rival"], max_age=5) == {"acme": ACTIVE, "rival": ACTIVE}
    assert host.asked == [{"acme"}, {"acme", "rival"}]


def test_a_no_is_always_a_fresh_one(directory: HostDirectory, host: Host) -> None:
    host.standings["rival"] = Standing(OrganizationStatus.DELETED)
    for _ in range(2):
        assert directory.organizations(["acme", "rival", "none"], max_age=5).keys() == {"acme", "rival"}
        assert directory.members([("acme", "bea")], max_age=5) == {}
    assert host.asked == [{"acme", "rival", "none"}, {("acme", "bea")}, {"rival", "none"}, {("acme", "bea")}]


def test_who_wants_a_fresh_answer_gets_it_and_the_next_one_too(directory: HostDirectory, host: Host) -> None:
    directory.members([ANA], max_age=5)
    host.memberships = {}
    assert directory.members([ANA], max_age=5) != {}
    assert directory.members([ANA]) == {}
    assert directory.members([ANA], max_age=5) == {}


@pytest.mark.parametrize(("user", "forgotten"), [("ana", [True, False]), (None, [True, True]), ("bea", [False, False])])
def test_what_the_host_says_has_changed_is_asked_again(
    directory: HostDirectory, host: Host, user: str | None, forgotten: list[bool]
) -> None:
    directory.members([ANA], max_age=5)
    directory.organizations(["acme"], max_age=5)
    host.asked.clear()
    directory.changed("acme", user)
    directory.changed("rival")
    directory.members([ANA], max_age=5)
    directory.organizations(["acme"], max_age=5)
    assert [{ANA} in host.asked, {"acme"} in host.asked] == forgotten


def test_an_answer_from_before_a_change_is_not_kept(directory: HostDirectory, host: Host) -> None:
    host.on_question = lambda: directory.changed("acme")
    directory.organizations(["acme"], max_age=5)
    directory.organizations(["acme"], max_age=5)
    assert host.asked == [{"acme"}] * 2
