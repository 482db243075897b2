"""Rules: people submit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import MultipleResults, initialize, multiple, rule
from sqlalchemy import Connection

from fairlane import ParentPolicy, Submission
from fairlane.store.engine import WRITE
from tests.model.machine.base import ADMIN, MEMBER, Machine, job_types, jobs, places
from tests.model.model import submission as model
from tests.model.model.world import Asked, find

policies = st.sampled_from(ParentPolicy)
submitters = st.sampled_from(["member", "member", "admin", "system"])
transactions = st.sampled_from(["own", "own", "caller's", "rolled back"])


class Submitting(Machine):
    """Submissions of one job, or of a graph of some, in a transaction of the engine's own or of the caller's."""

    @initialize(target=jobs, place=places)
    def first(self, place: str) -> UUID:
        asked = self.ask(place, ())
        self.submit([asked], "own")
        return asked.id

    @rule(
        target=jobs,
        place=places,
        parents=st.lists(jobs, max_size=3, unique=True),
        who=submitters,
        job_type=job_types,
        policy=policies,
        delay=st.sampled_from([0.0, 0.0, 0.0, 100.0]),
        queue=st.sampled_from(["default", "slow"]),
        max_retries=st.integers(0, 2),
        key=st.sampled_from([None, None, "k1", "k2"]),
        on_duplicate=st.sampled_from(["reject", "return", "replace"]),
        transaction=transactions,
    )
    def submit_one(self, place: str, parents: list[UUID], transaction: str, **more: Any) -> MultipleResults[UUID]:
        return self.submit([self.ask(place, self.known(place, parents), **more)], transaction)

    @rule(
        target=jobs,
        place=places,
        parents=st.lists(jobs, max_size=2, unique=True),
        chain=st.lists(policies, min_size=2, max_size=4),
        alone=st.booleans(),
        transaction=transactions,
    )
    def submit_some(
        self, place: str, parents: list[UUID], chain: list[ParentPolicy], alone: bool, transaction: str
    ) -> MultipleResults[UUID]:
        """Submit a batch in which each job waits for the two before it, or for none of them."""
        batch: list[Asked] = []
        for policy in chain:
            before = tuple(asked.id for asked in batch[-2:]) if batch and not alone else self.known(place, parents)
            batch.append(self.ask(place, before, policy=policy))
        return self.submit(batch, transaction)

    def known(self, place: str, drawn: Sequence[UUID]) -> tuple[UUID, ...]:
        """Return the jobs that are still there; `is_unknown` says what a submission that names others becomes."""
        return tuple(one for one in drawn if find(self.world, one, self.here[place]))

    def ask(self, place: str, parents: tuple[UUID, ...], who: str = "member", **more: Any) -> Asked:
        self.drawn += 1
        user = {"member": MEMBER[place], "admin": ADMIN[place]}.get(who)
        # The nth UUIDv7: replays of a life draw the same ids.
        drawn = UUID(int=self.drawn << 80 | 7 << 76 | 2 << 62)
        asked = Asked(drawn, self.here[place], parents, user, **more)
        self.owners[asked.id] = asked.organization
        return asked

    def submit(self, batch: Sequence[Asked], transaction: str) -> MultipleResults[UUID]:
        given = [
            Submission(
                asked.job_type,
                organization=asked.organization,
                user=asked.user,
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
