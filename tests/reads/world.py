"""Puts jobs, workers and pauses into a database through the store's own statements."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Connection
from uuid_utils.compat import uuid7

from fairlane.domain.breaker import Outcomes, Pair, Trial, opened
from fairlane.domain.errors import StorageUnavailable
from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Subject
from fairlane.domain.outcomes import ErrorReport, Failed, Outcome
from fairlane.domain.statuses import PRIORITY_RANK, OrganizationStatus, ParentPolicy, Priority, Role
from fairlane.jobtypes.options import Options
from fairlane.store.statements import (
    breakers,
    cancel,
    job_types,
    organizations,
    outcomes,
    running_limits,
    stage,
    submit,
    workers,
)
from fairlane.store.statements.attempts import AttemptKey
from fairlane.store.statements.drafts import Draft, Kind
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Membership, Standing
from fairlane.testing import ManualClock
from tests.store.races.scene import Claimed, claim_from, rescue_one, write_ends

T = TypeVar("T")

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LEASE = 15.0


def key_of(claimed: Claimed) -> AttemptKey:
    """Return the lease that proves a write of this attempt."""
    return AttemptKey(claimed.organization, claimed.id, claimed.lease_token)


class World:
    """Organizations acme and rival; every verb is one transaction."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock(START)
        self._seconds = 0.0
        self.database = Database(url, clock=self.clock)
        self.add_organization("acme")
        self.add_organization("rival")

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self._seconds)

    def pass_time(self, seconds: float) -> None:
        self._seconds += seconds
        self.clock.advance(seconds)

    def write(self, work: Callable[[Connection], T]) -> T:
        return self.database.write(work)

    def add_organization(self, name: str, status: OrganizationStatus = OrganizationStatus.ACTIVE) -> None:
        values = {"id": name, "name": name, "status": status, "weight": 1, "created_at": self.now}
        self.write(lambda connection: organizations.create(connection, values))
        self.write(lambda connection: organizations.set_member(connection, self.now, name, "ana", Role.MEMBER, ()))

    def submit(self, organization: str = "acme", job_type: str = "report.pdf", **more: Any) -> UUID:
        """Submit a job. `more`: fields of a `Draft` and its `Kind`, labels as a mapping, the priority by name."""
        return self.submit_many([self.draft(organization, job_type, **more)])[0]

    def submit_many(self, drafts: Sequence[Draft]) -> list[UUID]:
        return list(self.write(lambda connection: submit.submit(connection, self.clock, drafts)).ids)

    def draft(
        self,
        organization: str = "acme",
        job_type: str = "report.pdf",
        *,
        id: UUID | None = None,
        labels: Mapping[str, str] | None = None,
        priority: Priority = Priority.NORMAL,
        **more: Any,
    ) -> Draft:
        of_kind: dict[str, Any] = {
            "user": "ana",
            "queue": "default",
            "on_parent_failure": ParentPolicy.DEAD_LETTER,
            "run_at": None,
            "delay": 0.0,
            "max_retries": 5,
            "timeout": 300.0,
            "required_permission": None,
            "window": 0.0,
            "on_duplicate": "reject",
            "rate": None,
            "max_live_jobs": None,
        }
        of_job: dict[str, Any] = {"parameters": "{}", "shown_parameters": {}, "parents": (), "dedup": None}
        of_kind |= {name: value for name, value in more.items() if name not in of_job}
        named = labels or {}
        return Draft(
            id=id or uuid7(),
            kind=Kind(organization=organization, job_type=job_type, priority=PRIORITY_RANK[priority], **of_kind),
            labels=json.dumps(named),
            label_items=tuple(named.items()),
            **(of_job | {name: value for name, value in more.items() if name in of_job}),
        )

    def start_worker(
        self,
        name: str = "w1",
        *,
        queues: tuple[str, ...] | None = None,
        job_types: tuple[str, ...] = ("report.pdf",),
        stopping: bool = False,
        slots: int = 10,
    ) -> WorkerCard:
        card = WorkerCard(uuid4(), name, queues, job_types, slots)
        self.write(lambda connection: workers.register(connection, self.clock, card, LEASE))
        self.beat(card, stopping=stopping)
        return card

    def beat(self, card: WorkerCard, *, stopping: bool = False) -> None:
        self.write(lambda connection: workers.beat(connection, self.clock, card.id, LEASE, stopping=stopping))

    def lack_key(self, card: WorkerCard, organization: str) -> None:
        """Let the worker find that it has not the master key of the organization's keys."""
        self.write(lambda connection: workers.tell_locked(connection, card.id, [organization]))

    def claim(
        self, card: WorkerCard, organization: str = "acme", job_type: str = "report.pdf", queue: str = "default"
    ) -> Claimed:
        """The next job of the lane, now running."""
        lanes = [Lane(queue, organization, job_type)]
        (claimed,) = self.write(lambda connection: claim_from(connection, self.now, lanes, card))
        return claimed

    def end(self, claimed: Claimed, outcome: Outcome | None = None) -> None:
        """End the attempt; without an outcome it completes."""
        self.write(lambda connection: write_ends(connection, self.now, claimed, outcome=outcome))

    def fail(self, claimed: Claimed, message: str = "no paper", *, permanent: bool = False) -> None:
        error = ErrorReport("PrinterError", message, traceback="Traceback: printer.py, line 7", permanent=permanent)
        self.end(claimed, Failed(error))

    def rescue(self) -> None:
        self.write(lambda connection: rescue_one(connection, self.clock))

    def stage_retries(self) -> None:
        self.write(lambda connection: stage.ready_retries(connection, self.now))

    def cancel(self, job_id: UUID, organization: str = "acme", *, actor: str = "bea", reason: str = "") -> None:
        self.write(
            lambda connection: cancel.cancel(connection, self.now, organization, job_id, actor=actor, reason=reason)
        )

    def pause(self, subject: str, name: str, *, actor: str = "olga", reason: str = "") -> None:
        self.write(lambda connection: job_types.pause(connection, self.now, subject, name, actor=actor, reason=reason))

    def limit(self, subject: Subject, **changes: Any) -> None:
        self.write(lambda connection: running_limits.set_limit(connection, subject, changes))

    def note_starts(self, subject: Subject, number: int) -> None:
        self.write(
            lambda connection: running_limits.note_starts(connection, self.now, {subject: number}, {subject: 60.0})
        )

    def register(self, job_type: str, options: Options) -> None:
        self.write(lambda connection: job_types.register(connection, self.now, job_type, "{}", options.to_json()))

    def open_breaker(self, organization: str = "acme", job_type: str = "report.pdf") -> None:
        breaker = opened(Pair(organization, job_type), self.now)
        self.write(lambda connection: breakers.open_one(connection, breaker))

    def count(self, organization: str = "acme", job_type: str = "report.pdf", **counts: Any) -> None:
        """Count ends of attempts, as a worker writes them down."""
        of_type = {Pair(organization, job_type): Outcomes(**counts)}
        self.write(lambda connection: outcomes.add(connection, self.now, uuid4(), of_type))

    def run(
        self, organization: str = "acme", job_type: str = "report.pdf", *, waits: float = 0.0, runs: float = 0.0
    ) -> UUID:
        """A job's life, which its worker counts."""
        job_id = self.submit(organization, job_type)
        self.pass_time(waits)
        claimed = self.claim(self.start_worker(), organization, job_type)
        self.pass_time(runs)
        self.end(claimed)
        self.count(organization, job_type, completions=1, seconds=runs)
        return job_id

    def begin_trial(self, claimed: Claimed) -> None:
        trial = Trial(claimed.id, claimed.attempt, claimed.lease_token)
        trials = {Pair(claimed.organization, claimed.job_type): trial}
        self.write(lambda connection: breakers.begin_trials(connection, trials))

    def set_max_running(self, organization: str, most: int) -> None:
        self.write(lambda connection: organizations.change(connection, organization, {"max_running": most}))

    def set_organization_status(self, organization: str, status: OrganizationStatus) -> None:
        self.write(lambda connection: organizations.change(connection, organization, {"status": status}))


class Host:
    """A host's directory with one answer."""

    def __init__(self, standing: Standing | None, *, is_away: bool = False) -> None:
        self.standing = standing
        self.is_away = is_away

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        if self.is_away:
            raise StorageUnavailable("The directory gave no answer.")
        return dict.fromkeys(ids, self.standing) if self.standing is not None else {}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        return {}
