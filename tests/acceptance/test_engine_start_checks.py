"""R5: what was checked at submission is checked again when the job is to start."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest

from fairlane import JobContext, Membership, OrganizationStatus, Role, Standing
from fairlane.domain.events import DirectoryLost, JobStarted
from fairlane.domain.reasons import ReasonCode
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, Gate, engine, running, started


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        register_work(fl)
        yield fl


def register_work(fl: Engine) -> None:
    @fl.job_type("work", requires_permission="work")
    async def work(ctx: JobContext) -> str:
        return "done"


def test_a_job_of_a_deleted_organization_ends_in_dead_letter(fl: Engine) -> None:
    job = fl.give("work")
    fl.organizations.delete("acme")
    fl.drain()
    assert fl.look(job).status == "dead_letter"
    assert fl.look(job).error_message == "Organization not found"
    assert fl.look(job).attempt == 0


def test_a_job_is_refused_if_its_organization_is_deleted_between_the_claim_and_the_start(database_url: str) -> None:
    directory = Host()
    with engine(database_url, directory=directory) as fl:
        register_work(fl)
        job = fl.give("work")
        del directory.standings["acme"]
        fl.drain()
        assert fl.look(job).status == "dead_letter"
        assert fl.look(job).error_message == "Organization not found"
        assert fl.look(job).retry_count == 0
        assert fl.events.of(JobStarted) == []


def test_a_no_that_has_become_a_yes_by_the_start_ends_no_job(database_url: str) -> None:
    directory = Host()
    with engine(database_url, directory=directory) as fl:
        register_work(fl)
        job = fl.give("work")
        directory.is_absent_minded = True
        fl.drain()
        assert not directory.is_absent_minded
        assert fl.look(job).status == "completed"


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("removed", "Permission denied: ana is no longer a member of acme; retry it once they are a member"),
        ("made a viewer", "Permission denied: ana may no longer submit work in acme, which needs work; give them"),
        ("lost the permission", "Permission denied: ana may no longer submit work in acme, which needs work; give"),
    ],
)
def test_a_job_of_a_user_who_lost_the_right_ends_in_dead_letter(fl: Engine, loss: str, told: str) -> None:
    fl.members.add("acme", "ana", permissions=["work"])
    job = fl.give("work", user="ana")
    if loss == "removed":
        fl.members.remove("acme", "ana")
    elif loss == "made a viewer":
        fl.members.update("acme", "ana", role="viewer", permissions=["work"])
    else:
        fl.members.update("acme", "ana", permissions=[])
    reasons = {one.code: one.sentence for one in fl.explain(job.id, organization="acme").reasons}
    assert reasons[ReasonCode.PERMISSION_LOST].startswith("ana may no longer submit work jobs in acme; the job goes to")
    fl.drain()
    assert fl.way(job) == ["queued", "running", "dead_letter"]
    message = fl.look(job).error_message
    assert message is not None
    assert message.startswith(told)
    (letter,) = fl.dead_letters.list(organization="acme").items
    assert (letter.job_id, letter.reason, letter.fingerprint) == (job.id, message, "Refused Permission denied")
    assert "attempt" not in fl.explain(job.id, organization="acme").summary


def test_a_job_of_the_system_needs_no_permission(fl: Engine) -> None:
    job = fl.give("work", user=None)
    fl.drain()
    assert fl.value(job) == "done"


def test_jobs_of_a_suspended_organization_wait_until_it_is_active_again(fl: Engine) -> None:
    fl.organizations.create("rival")
    job, other = fl.give("work"), fl.give("work", organization="rival")
    fl.organizations.suspend("acme")
    fl.drain()
    assert fl.look(job).status == "queued"
    assert fl.look(other).status == "completed"
    fl.organizations.activate("acme")
    fl.drain()
    assert fl.value(job) == "done"
    assert fl.look(job).attempt == 1


def test_running_jobs_of_an_organization_that_is_suspended_finish(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("slow")
    def slow(ctx: JobContext) -> None:
        gate.wait()

    job = fl.give("slow")
    with running(fl.worker()):
        started(fl, job)
        fl.organizations.suspend("acme")
        gate.open()
        assert fl.ended(job).status == "completed"


class Host:
    """A host application's directory, which can be away."""

    def __init__(self) -> None:
        self.standings = {"acme": Standing(OrganizationStatus.ACTIVE)}
        self.members_of_acme = {"ana": Membership(Role.MEMBER, frozenset({"work"}))}
        self.is_away: str | None = None
        self.nonsense: Any = None
        self.is_absent_minded = False  # then it knows of no organization, once

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        self._fail_if_away("organizations")
        if self.is_absent_minded:
            self.is_absent_minded = False
            return {}
        return self.nonsense or {one: self.standings[one] for one in ids if one in self.standings}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        self._fail_if_away("members")
        return {pair: self.members_of_acme[pair[1]] for pair in pairs if pair[1] in self.members_of_acme}

    def _fail_if_away(self, question: str) -> None:
        if self.is_away == question:
            raise ConnectionError("the host is away")


def test_a_directory_that_fails_defers_jobs_and_loses_none(database_url: str) -> None:
    directory = Host()
    with engine(database_url, directory=directory) as fl:
        register_work(fl)
        job = fl.give("work", user="ana")
        directory.is_away = "organizations"
        fl.drain()
        assert fl.look(job).status == "queued"
        assert fl.look(job).attempt == 0
        assert fl.events.of(DirectoryLost)[-1].reason == "ConnectionError"
        directory.is_away = None
        fl.drain()
        assert fl.value(job) == "done"


def test_a_directory_that_can_not_say_who_a_user_is_defers_that_users_jobs(database_url: str) -> None:
    directory, clock = Host(), ManualClock()
    with engine(database_url, directory=directory, clock=clock) as fl:
        register_work(fl)
        job, of_the_system = fl.give("work", user="ana"), fl.give("work", dedup_window=0)
        directory.is_away = "members"
        fl.drain()
        assert fl.look(of_the_system).status == "completed"
        assert fl.look(job).status == "queued"
        assert fl.look(job).retry_count == 0
        assert "the directory could not be asked" in fl.reasons(job)
        directory.is_away = None
        clock.advance(60)
        fl.drain()
        assert fl.value(job) == "done"


def test_a_directory_that_says_no_ends_the_job(database_url: str) -> None:
    directory = Host()
    with engine(database_url, directory=directory) as fl:
        register_work(fl)
        job = fl.give("work", user="ana")
        directory.members_of_acme.clear()
        fl.drain()
        assert fl.look(job).status == "dead_letter"
        assert str(fl.look(job).error_message).startswith("Permission denied: ana is no longer a member of acme")
        assert fl.events.of(JobStarted) == []


def test_a_directory_that_answers_nonsense_defers_jobs_too(database_url: str) -> None:
    directory = Host()
    with engine(database_url, directory=directory) as fl:
        register_work(fl)
        job = fl.give("work", user="ana")
        directory.nonsense = True
        fl.drain()
        assert (fl.look(job).status, fl.look(job).attempt) == ("queued", 0)
        assert fl.events.of(DirectoryLost)


@pytest.mark.parametrize("status", [OrganizationStatus.SUSPENDED, OrganizationStatus.DELETED])
def test_a_directory_may_say_how_an_organization_stands(database_url: str, status: OrganizationStatus) -> None:
    directory = Host()
    with engine(database_url, directory=directory) as fl:
        register_work(fl)
        job = fl.give("work")
        directory.standings["acme"] = Standing(status)
        fl.drain()
        expected = "queued" if status is OrganizationStatus.SUSPENDED else "dead_letter"
        assert fl.look(job).status == expected


def test_an_answer_is_kept_until_the_host_tells_of_a_change(database_url: str) -> None:
    directory, clock = Host(), ManualClock()
    with engine(database_url, directory=directory, clock=clock, directory_max_age=30) as fl:
        register_work(fl)
        jobs = [fl.give("work", user="ana", dedup_window=0, delay=delay) for delay in (0, 10, 20)]
        fl.drain()
        directory.members_of_acme.clear()
        clock.advance(10)
        fl.drain()
        fl.directory_changed(organization="acme", user="ana")
        clock.advance(10)
        fl.drain()
        assert [fl.look(job).status for job in jobs] == ["completed", "completed", "dead_letter"]
