"""A worker and the host's directory that is away: it asks ever less often, says so now and then, and goes on."""

from types import SimpleNamespace
from typing import Any

import pytest

from fairlane import Membership, OrganizationStatus, Role, Standing
from fairlane.domain.events import DirectoryBack, DirectoryLost, Event
from fairlane.engine.cached_directory import CachedDirectory, DirectoryAway
from fairlane.tenancy.host_directory import HostDirectory

ANA, BEA = ("acme", "ana"), ("acme", "bea")


class Host:
    def __init__(self) -> None:
        self.asked = 0
        self.away: set[str] = set()
        self.nonsense: Any = None
        self.memberships = {ANA: Membership(Role.MEMBER), BEA: Membership(Role.MEMBER)}

    def organizations(self, ids: Any) -> Any:
        self._ask("organizations")
        return self.nonsense or {one: Standing(OrganizationStatus.ACTIVE) for one in ids}

    def members(self, pairs: Any) -> Any:
        self._ask("members")
        return {pair: self.memberships[pair] for pair in pairs if pair in self.memberships}

    def _ask(self, question: str) -> None:
        self.asked += 1
        if question in self.away:
            raise ConnectionError("no route")


class World:
    """A directory that is asked every fifth of a second, as an idle worker does."""

    def __init__(self) -> None:
        self.host, self.clock, self.events = Host(), SimpleNamespace(now=1000.0), list[Event]()
        self.directory = CachedDirectory(
            HostDirectory(self.host, lambda: self.clock.now), 5.0, self.events.append, lambda: self.clock.now
        )

    def poll(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.2)):
            try:
                self.directory.organizations(["acme"])
                self.directory.members([ANA])
            except DirectoryAway:
                pass
            self.clock.now += 0.2


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("question", ["organizations", "members"])
def test_an_outage_is_told_once_a_minute_and_its_end_once(world: World, question: str) -> None:
    world.host.away = {question}
    world.poll(150)
    assert world.events == [DirectoryLost("ConnectionError")] * 3
    world.host.away = set()
    world.poll(20)
    assert world.events[3:] == [DirectoryBack()]
    world.host.away = {question}
    world.poll(20)
    assert world.events[4:] == [DirectoryLost("ConnectionError")]


def test_a_directory_that_is_away_is_asked_every_ten_seconds(world: World) -> None:
    world.host.away = {"organizations"}
    world.poll(30)
    world.host.asked = 0
    world.poll(100)
    assert 9 <= world.host.asked <= 11


def test_while_members_are_unknown_nothing_is_claimed_to_be_given_back(world: World) -> None:
    world.host.away = {"members"}
    world.poll(0.2)
    with pytest.raises(DirectoryAway):
        world.directory.organizations(["acme"])


def test_nonsense_is_an_outage_that_says_what_is_wrong(world: World) -> None:
    world.host.nonsense = "yes"
    world.poll(10)
    (lost,) = world.events
    assert isinstance(lost, DirectoryLost)
    assert "answered a str instead of a mapping" in lost.reason


def test_only_a_fresh_no_is_a_no(world: World) -> None:
    world.host.memberships[BEA] = Membership(Role.VIEWER)
    needs = {(*ANA, "reports"), (*BEA, None)}
    world.directory.members([ANA, BEA])
    world.host.memberships = {ANA: Membership(Role.MEMBER, frozenset({"reports"}))}
    assert world.directory.members_for(needs) == world.host.memberships
