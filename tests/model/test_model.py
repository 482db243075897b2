"""Whatever people, workers and time do, in whatever order: the engine's rows are those of the model, after each step.

Two organizations live side by side, so what leaks from one to the other shows as a difference, too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from fairlane import JobNotFound, JobStatus, OrganizationSuspended, ParentNotFound, ParentPolicy, Resolution, Submission
from fairlane.domain.outcomes import Completed, ErrorReport, Lost, Outcome, Released, Snoozed, Stopped, TimedOut
from fairlane.store.dialects import WRITE
from fairlane.store.statements.claim import Claimed
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.tables import metadata
from tests.model import model
from tests.model.depth import DEEP
from tests.model.model import Asked, End, Hold, Refusal, WhyNot, World
from tests.model.picture import of_database, of_model
from tests.store.races.scene import BROKEN, DAY, JAMMED, LEASE, START, Hand, Scene

T = TypeVar("T")

USERS = {"acme": "ana", "rival": "rita"}
OTHER = {"acme": "rival", "rival": "acme"}
SLOTS = 10
# What is more frequent in life is so here.
OUTCOMES: Sequence[Outcome] = (
    *[Completed()] * 2,
    *[Completed('"done"')] * 2,
    *[BROKEN] * 3,
    *[JAMMED] * 3,
    TimedOut(ErrorReport("TimedOut", "too slow"), 300.0),
    Snoozed(0.0),
    Snoozed(120.0),
    Released("released at shutdown"),
    Released("the directory could not be asked", 10.0),
    Stopped(),
)
organizations = st.sampled_from(sorted(USERS))
outcomes = st.sampled_from(OUTCOMES)
policies = st.sampled_from(ParentPolicy)
hands = st.integers(0, 1)
transactions = st.sampled_from(["own", "own", "caller's", "rolled back"])
HOLDS: Sequence[Hold] = (
    *(("suspension", "acme"), ("suspension", "rival"), ("organization", "acme"), ("organization", "rival")),
    *(("queue", "default"), ("queue", "slow"), ("job_type", "report")),
)


class Engine(RuleBasedStateMachine):
    """Does everything twice: with the model, and with the engine."""

    jobs: Bundle[UUID] = Bundle("jobs")
    leases: Bundle[Claimed] = Bundle("leases")
    spent: Bundle[Claimed] = Bundle("spent")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.scene = Scene(url)
        self.fl = self.scene.fl
        self.world = World(START)
        self.owners: dict[UUID, str] = {}
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
                model.keep_to(self.world.jobs[job_id], seen.due, seen.culprits)
        wanted = of_model(self.world)
        assert found.jobs == wanted.jobs
        assert found.keys == wanted.keys

    @initialize(target=jobs, organization=organizations)
    def first(self, organization: str) -> UUID:
        asked = self.ask(organization, ())
        self.submit([asked], "own")
        return asked.id

    @rule(
        target=jobs,
        organization=organizations,
        parents=st.lists(jobs, max_size=3, unique=True),
        policy=policies,
        delay=st.sampled_from([0.0, 0.0, 0.0, 100.0]),
        queue=st.sampled_from(["default", "slow"]),
        max_retries=st.integers(0, 2),
        key=st.sampled_from([None, None, "k1", "k2"]),
        on_duplicate=st.sampled_from(["reject", "return", "replace"]),
        transaction=transactions,
    )
    def submit_one(
        self, organization: str, parents: list[UUID], transaction: str, **more: Any
    ) -> MultipleResults[UUID]:
        return self.submit([self.ask(organization, self.known(organization, parents), **more)], transaction)

    @rule(
        target=jobs,
        organization=organizations,
        parents=st.lists(jobs, max_size=2, unique=True),
        chain=st.lists(policies, min_size=2, max_size=4),
        transaction=transactions,
    )
    def submit_a_graph(
        self, organization: str, parents: list[UUID], chain: list[ParentPolicy], transaction: str
    ) -> MultipleResults[UUID]:
        """Each job waits for the one before it in the batch, and for the one before that."""
        batch: list[Asked] = []
        for policy in chain:
            before = tuple(asked.id for asked in batch[-2:]) or self.known(organization, parents)
            batch.append(self.ask(organization, before, policy=policy))
        return self.submit(batch, transaction)

    def known(self, organization: str, drawn: Sequence[UUID]) -> tuple[UUID, ...]:
        """Those that are still there; what becomes of a submission that names others, `is_unknown` tells."""
        return tuple(one for one in drawn if model.find(self.world, one, organization))

    def ask(self, organization: str, parents: tuple[UUID, ...], **more: Any) -> Asked:
        self.drawn += 1
        asked = Asked(UUID(int=self.drawn), organization, parents, **more)
        self.owners[asked.id] = organization
        return asked

    def submit(self, batch: Sequence[Asked], transaction: str) -> MultipleResults[UUID]:
        given = [
            Submission(
                "report",
                asked.organization,
                USERS[asked.organization],
                depends_on=asked.parents,
                on_parent_failure=asked.policy,
                delay=asked.delay or None,
                queue=asked.queue,
                max_retries=asked.max_retries,
                dedup_key=asked.key,
                dedup_window=model.WINDOW if asked.key is not None else 0,
                on_duplicate=asked.on_duplicate,
                id=asked.id,
            )
            for asked in batch
        ]
        refusal = model.why_not_submit(self.world, batch)
        with self.transaction(transaction) as connection:
            made = self.agree(refusal, lambda: self.fl.submit_many(given, connection=connection))
        if made is None or transaction == "rolled back":
            return multiple()
        got = model.submit(self.world, batch)
        assert [job.id for job in made] == got
        return multiple(*(asked.id for asked in batch if asked.id in got))

    @contextmanager
    def transaction(self, whose: str) -> Iterator[Connection | None]:
        if whose == "own":
            yield None
            return
        writing = self.fl.database.engine.execution_options(**{WRITE: True})
        with writing.connect() as connection, connection.begin() as transaction:
            yield connection
            if whose == "rolled back":
                transaction.rollback()

    def agree(self, refusal: Refusal, verb: Callable[[], T]) -> T | None:
        """The engine does it, or refuses it with the error that the model names."""
        if refusal is None:
            return verb()
        with pytest.raises(refusal):
            verb()
        return None

    def new_hand(self) -> Hand:
        self.drawn += 1
        hand = Hand(self.scene, WorkerCard(UUID(int=self.drawn), f"w{self.drawn}", None, ("report",), SLOTS))
        self.world.workers[hand.id] = self.lease_end()
        return hand

    def lease_end(self) -> datetime:
        return self.world.now + timedelta(seconds=LEASE)

    @rule(target=leases, hand=hands, slots=st.sampled_from([1, 3, SLOTS]))
    def claim(self, hand: int, slots: int) -> MultipleResults[Claimed]:
        return multiple(*self.start(hand, slots))

    def start(self, hand: int, slots: int) -> list[Claimed]:
        mine = self.hands[hand]
        claimed = mine.round(slots)
        lives = self.world.workers.get(mine.id, self.world.now) > self.world.now
        allowed = model.claimable(self.world) if lives else set()
        assert {one.id for one in claimed} <= allowed
        assert len(claimed) == len({one.id for one in claimed}) <= slots
        assert claimed or not allowed or slots < SLOTS, "something could start, and nothing did"
        for one in claimed:
            model.claim(self.world, one.id, mine.id, one.lease_token)
        return claimed

    @rule(target=spent, hand=hands, ends=st.lists(outcomes, min_size=1, max_size=SLOTS))
    def run(self, hand: int, ends: list[Outcome]) -> MultipleResults[Claimed]:
        """A worker that is well claims some jobs and runs them to their ends."""
        self.beat(hand)
        claimed = self.start(hand, len(ends))
        for lease, outcome in zip(claimed, ends, strict=False):
            self.finish(lease, outcome)
        return multiple(*claimed)

    @rule(target=spent, lease=consumes(leases), outcome=outcomes)
    def finish(self, lease: Claimed, outcome: Outcome) -> Claimed:
        """The end of an attempt, unless its lease was lost meanwhile."""
        model.finish(self.world, End(lease.id, lease.lease_token, outcome))
        self.scene.end(lease, outcome=outcome)
        return lease

    @rule(lease=spent, outcome=outcomes)
    def a_late_writer_changes_nothing(self, lease: Claimed, outcome: Outcome) -> None:
        (finished,) = self.scene.end(lease, outcome=outcome)
        assert finished.transition is None
        assert not finished.is_locked

    @rule(target=spent, hand=hands, fate=st.sampled_from(["beats", "leaves", "crashes", "is found"]))
    def what_becomes_of_a_worker(self, hand: int, fate: str) -> MultipleResults[Claimed]:
        match fate:
            case "beats":
                self.beat(hand)
            case "leaves":
                self.leave(hand)
            case "crashes":
                return multiple(*self.crash(hand))
            case _:
                self.rescue()
        return multiple()

    def beat(self, hand: int) -> None:
        mine = self.hands[hand].id
        assert self.hands[hand].beat() is (mine in self.world.workers)
        if mine in self.world.workers:
            self.world.workers[mine] = self.lease_end()
        else:
            self.hands[hand] = self.new_hand()

    def leave(self, hand: int) -> None:
        mine = self.hands[hand]
        mine.leave()
        if mine.id in self.world.workers:
            model.release_all(self.world, mine.id)
        self.hands[hand] = self.new_hand()

    def crash(self, hand: int) -> list[Claimed]:
        """A worker claims, beats no more, and is found to be lost; what it had claimed just before."""
        self.beat(hand)
        claimed = self.start(hand, 2)
        self.pass_time(LEASE - 1, "none")
        self.beat(1 - hand)
        self.pass_time(2, "none")
        self.rescue()
        return claimed

    def rescue(self) -> None:
        rescued = self.scene.rescue()
        lost = {worker for worker, until in self.world.workers.items() if until < self.world.now}
        if rescued is None:
            assert lost == set()
            return
        worker, finished = rescued
        assert worker in lost
        verdicts = {
            one.finish.job_id: one.finish.outcome.verdict for one in finished if isinstance(one.finish.outcome, Lost)
        }
        model.rescue(self.world, worker, verdicts)

    @rule(job=jobs, verb=st.sampled_from(["cancel", "retry", "resolve", "ignore", "discard"]))
    def change(self, job: UUID, verb: str) -> None:
        """By a member; to one of the other organization the job does not exist."""
        do, why_not, then = self.verbs()[verb]
        owner = self.owners[job]
        self.is_unknown(OTHER[owner], job, do)
        found = model.find(self.world, job, owner)
        if found is None:
            self.is_unknown(owner, job, do)
            return
        refusal = why_not(self.world, found)
        self.agree(refusal, lambda: do(job, organization=owner, user=USERS[owner]))
        if refusal is None:
            then(self.world, found)

    def is_unknown(self, organization: str, job: UUID, do: Callable[..., object]) -> None:
        user = USERS[organization]
        self.agree(JobNotFound, lambda: do(job, organization=organization, user=user))
        refusal = OrganizationSuspended if model.is_suspended(self.world, organization) else ParentNotFound
        self.agree(refusal, lambda: self.scene.submit(organization=organization, user=user, depends_on=job))

    @precondition(lambda self: self.dead_letters())
    @rule(nth=st.integers(0, 9))
    def retry_a_dead_letter(self, nth: int) -> None:
        letters = self.dead_letters()
        self.change(letters[nth % len(letters)], "retry")

    def dead_letters(self) -> list[UUID]:
        return [job.asked.id for job in self.world.jobs.values() if job.status is JobStatus.DEAD_LETTER]

    def verbs(self) -> dict[str, tuple[Callable[..., object], WhyNot, Callable[[World, model.Job], None]]]:
        letters = self.fl.dead_letters
        return {
            "cancel": (self.fl.cancel, model.why_not_cancel, model.cancel),
            "retry": (self.fl.retry, model.why_not_retry, model.retry),
            "resolve": (letters.resolve, model.why_not_decide, partial(model.decide, resolution=Resolution.RESOLVED)),
            "ignore": (letters.ignore, model.why_not_decide, partial(model.decide, resolution=Resolution.IGNORED)),
            "discard": (letters.delete, model.why_not_discard, model.discard),
        }

    @rule(holds=st.lists(st.sampled_from(HOLDS), max_size=2, unique=True))
    def hold_nothing_but(self, holds: list[Hold]) -> None:
        """Suspend or pause these; activate or resume the others."""
        verbs: Mapping[str, Any] = {
            "suspension": (self.fl.organizations.suspend, self.fl.organizations.activate),
            "organization": (self.fl.organizations.pause, self.fl.organizations.resume),
            "queue": (self.fl.queues.pause, self.fl.queues.resume),
            "job_type": (self.fl.job_types.pause, self.fl.job_types.resume),
        }
        for subject, name in sorted(self.world.held ^ set(holds)):
            hold, let_go = verbs[subject]
            (let_go if (subject, name) in self.world.held else hold)(name)
        self.world.held = set(holds)

    @rule(organization=organizations)
    def look(self, organization: str) -> None:
        """An organization sees all of its own jobs, and no other."""
        seen = self.fl.list(organization=organization, limit=1000).items
        mine = [job for job in self.world.jobs.values() if job.asked.organization == organization]
        assert {job.id: job.status for job in seen} == {job.asked.id: job.status for job in mine}

    @rule(
        seconds=st.sampled_from([0.0, 5.0, LEASE + 1, 150.0, model.WINDOW + 1, 2 * DAY]),
        service=st.sampled_from(["none", "stage", "stage", "clean-up"]),
    )
    def pass_time(self, seconds: float, service: str) -> None:
        """And let a service do its round."""
        self.scene.clock.advance(seconds)
        self.world.now += timedelta(seconds=seconds)
        if service == "stage":
            self.scene.stage()
            model.stage(self.world)
        elif service == "clean-up":
            gone = model.expired(self.world, DAY)
            assert self.scene.cleaner().run_once() == len(gone)
            model.delete(self.world, gone)


def test_the_engine_does_what_the_model_says(database_url: str):
    run_state_machine_as_test(
        cast(type[RuleBasedStateMachine], partial(Engine, database_url)),  # it is only called
        settings=settings(
            max_examples=1000 if DEEP else 20,
            stateful_step_count=100,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
