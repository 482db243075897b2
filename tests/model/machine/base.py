"""The part that all rules share: the engine, the model beside it, and the comparison of both after each step."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant

from fairlane.domain.statuses import Role
from fairlane.engine.breakers import Tally
from fairlane.store.engine import WRITE
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.tables import metadata
from tests.model.model.world import Member, Refusal, World, keep_to
from tests.model.picture import of_database, of_model
from tests.store.races.scene import LEASE, START, Claimed, Hand, Scene

T = TypeVar("T")

SLOTS = 10
JOB_TYPES = ("report", "letter")
# Two places for organizations: one that is deleted is followed by another. Each has a member and an admin.
PLACES = ("acme", "rival")
MEMBER = {"acme": "ana", "rival": "rita"}
ADMIN = {"acme": "olga", "rival": "rosa"}
ALL_RIGHTS = Member(Role.MEMBER, frozenset({"letters"}))
places = st.sampled_from(PLACES)
job_types = st.sampled_from(JOB_TYPES)
jobs: Bundle[UUID] = Bundle("jobs")
leases: Bundle[Claimed] = Bundle("leases")
spent: Bundle[Claimed] = Bundle("spent")


class Machine(RuleBasedStateMachine):
    """A machine that does everything twice: with the model, and with the engine."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.scene = Scene(url)
        self.fl = self.scene.fl
        self.scene.add_type("letter", dedup_window=0, requires_permission="letters")
        self.world = World(START)
        self.tally = Tally()
        self.owners: dict[UUID, str] = {}  # the organizations of all jobs that were ever asked for
        self.here = {place: place for place in PLACES}  # the organization that is there now
        for place in PLACES:
            self.let_people_in(place)
        self.drawn = 0
        self.hands = [self.new_hand() for _ in range(2)]

    def teardown(self) -> None:
        with self.fl.database.engine.execution_options(**{WRITE: True}).begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        self.fl.close()

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        with self.fl.database.engine.begin() as connection:
            found = of_database(connection)
        for job_id, seen in found.jobs.items():
            if job_id in self.world.jobs:
                keep_to(self.world.jobs[job_id], seen.due, seen.culprits)
        wanted = of_model(self.world)
        assert found.jobs == wanted.jobs
        assert found.keys == wanted.keys
        assert found.breakers == wanted.breakers

    def let_people_in(self, place: str) -> None:
        self.set_member(self.here[place], MEMBER[place], ALL_RIGHTS)
        self.set_member(self.here[place], ADMIN[place], Member(Role.ADMIN))

    def set_member(self, organization: str, user: str, member: Member) -> None:
        self.fl.members.add(organization, user, role=member.role, permissions=member.permissions)
        self.world.members[organization, user] = member

    def new_hand(self) -> Hand:
        self.drawn += 1
        hand = Hand(self.scene, WorkerCard(UUID(int=self.drawn), f"w{self.drawn}", None, JOB_TYPES, SLOTS))
        self.world.workers[hand.id] = self.lease_end()
        return hand

    def lease_end(self) -> datetime:
        return self.world.now + timedelta(seconds=LEASE)

    def agree(self, refusal: Refusal, verb: Callable[[], T]) -> T | None:
        """The engine does it, or refuses it with the error that the model names."""
        if refusal is None:
            return verb()
        with pytest.raises(refusal):
            verb()
        return None
