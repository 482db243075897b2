"""Verbs about schedules, which submit jobs by the clock: `fl.schedules`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import starmap
from math import inf
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from uuid_utils.compat import uuid7

from fairlane.domain.arguments import INHERIT, Inheriting, Seconds, choice, queue_name, seconds, text
from fairlane.domain.errors import ConfigurationError, InvalidParameters, PermissionDenied, StorageUnavailable
from fairlane.domain.jobs import Job
from fairlane.domain.permissions import Right
from fairlane.domain.schedules import Missed, Schedule
from fairlane.domain.statuses import Priority
from fairlane.domain.texts import SCHEDULE_NAMES, storable
from fairlane.encryption.keyring import Keyring
from fairlane.engine.batch import alone
from fairlane.engine.drafting import Ready
from fairlane.engine.submission import Submitter
from fairlane.jobtypes.catalogue import Catalogue, RegisteredType
from fairlane.schedules.rows import ScheduleDraft, after_last, judged, schedule_of, to_judge, told, unknown
from fairlane.schedules.ticks import SCHEDULE, TICK, Ticks, opened
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import organizations
from fairlane.store.statements import schedules as statements
from fairlane.store.statements.admission import Live
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Told, Work
from fairlane.tenancy.directory import Directory
from fairlane.tenancy.tenants import Tenants

T = TypeVar("T")
MOST: Final = 1000  # schedules of an organization
# A list checks stored parameters of up to this many characters. A check takes 20 ms at most.
_LONGEST: Final = 10_000

_Unjudged = tuple[Schedule, RegisteredType | None, str | None]


class Schedules:
    """Create, change, pause and delete an organization's schedules.

    At each tick a worker submits a job as the schedule's user, who must have the right to at that moment.
    """

    def __init__(
        self, database: Database, catalogue: Catalogue, submitter: Submitter, keyring: Keyring, directory: Directory
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tenants = Tenants(database, directory, has_platform=True)
        self._submitter = submitter
        self._keyring = keyring
        self.ticks = Ticks(submitter, keyring)

    @alone()
    def put(  # noqa: PLR0913 - the verbs of the public API take keywords
        self,
        name: str,
        job_type: str,
        *,
        organization: str,
        cron: str | None = None,
        every: Seconds | None = None,
        time_zone: str = "UTC",
        start: datetime | None = None,
        missed: Missed | str = Missed.ONE,
        as_user: str | Inheriting | None = INHERIT,
        parameters: Mapping[str, Any] | None = None,
        priority: Priority | str | None = None,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        user: str | None = None,
        sees_payload: bool = True,
    ) -> Schedule:
        """Create a schedule, or change the schedule of this name. A deployment may repeat this call.

        If the timetable is the same, the schedule goes on with its next tick. A pause stays.

        Args:
            name: of the schedule, without a slash. Its jobs have it as the label "schedule", and their tick as the
                label "tick".
            cron: five fields as Debian's cron reads them, for example "30 6 * * MON-FRI", or a nickname like "@daily";
                in `time_zone`.
            every: seconds or a timedelta, from a second to a year. Give this or `cron`.
            start: the first tick of `every`, with a time zone. None = the start of an existing schedule stays; a new
                schedule starts now.
            missed: what happens to ticks that were refused, or at which no worker or no database was available. "skip"
                skips ticks that are more than a minute late, "one" makes one job for all of them, "all" makes a job for
                each.
            as_user: the user as whom its jobs are submitted; None = the system. The default is `user`.
            parameters: of its jobs; None = the schedule's present parameters, or none. A secret that is "[redacted]"
                stays.
            priority, queue: of its jobs; None = as the job type says.
            labels: of its jobs, 48 at most, beside "schedule" and "tick", which are refused here.
            user: who changes the schedule; None = the system.
            sees_payload: whether `user` may see the parameters of other users' schedules.

        Raises:
            ConfigurationError: the timetable or another value is wrong, or there are 1,000 schedules.
            SubmissionError: such a job would be refused; the error says why.
            PermissionDenied: `user` lacks the right.
        """
        acting = user if as_user is INHERIT else as_user
        storable(organization=organization, as_user=acting)
        wanted = ScheduleDraft(
            organization,
            _name(name),
            text("job_type", job_type),
            acting,
            cron,
            seconds("every", every) if every is not None else None,
            time_zone,
            start,
            choice(Missed, "missed", missed),
            choice(Priority, "priority", priority) if priority is not None else None,
            queue_name(queue) if queue is not None else None,
            _labels(labels or {}),
        )
        self._submitter.register_types([wanted.job_type])
        while True:
            seen, plain = self._database.read(
                lambda connection: self._seen(connection, wanted, parameters, user, sees_payload=sees_payload),
                of=organization,
            )
            ready = self._submitter.prepare([wanted.submission(None, uuid7(), plain)], self._database)
            made = self._put(wanted, seen, ready, user)
            if made is not None:  # otherwise somebody changed, put or deleted the schedule meanwhile
                return made

    def get(self, name: str, *, organization: str) -> Schedule:
        """Return one schedule.

        Raises:
            ScheduleNotFound, OrganizationNotFound
        """
        storable(name=name)

        def work(connection: Connection) -> _Unjudged:
            return self._shown(connection, [self._row(connection, organization, name)])[0]

        return judged(*self._tenants.read(work, of=organization))

    def list(
        self, *, organization: str | None, after: str | None = None, limit: int | None = None
    ) -> tuple[Schedule, ...]:
        """Return an organization's schedules, by name.

        Parameters of more than 10,000 characters are not checked against their job type here: use `get`.

        Args:
            organization: None = the schedules of all organizations, by organization and name; for operators.
            after: only schedules whose names come after this name.
            limit: how many at most; None = all.

        Raises:
            OrganizationNotFound
        """
        storable(after=after)

        def work(connection: Connection) -> Sequence[_Unjudged]:
            return self._shown(connection, statements.of(connection, organization, after, limit), _LONGEST)

        read = self._tenants.read(work, of=EVERYONE if organization is None else organization)
        return tuple(starmap(judged, read))

    def pause(self, name: str, *, organization: str, user: str | None = None) -> Schedule:
        """Skip the schedule's ticks until `resume`. `user` is as in `put`.

        Raises:
            ScheduleNotFound, OrganizationNotFound, PermissionDenied
        """

        def change(row: AnyRow, now: datetime) -> dict[str, Any]:
            if row.paused_at is not None:
                return {}
            return {"paused_at": now, "paused_by": user or SYSTEM, "look_at": None, "problem": None}

        return self._change(organization, name, "pause", user, change)

    def resume(self, name: str, *, organization: str, user: str | None = None) -> Schedule:
        """End a pause. The schedule goes on with its next tick from now; skipped ticks make no jobs.

        Raises:
            ScheduleNotFound, OrganizationNotFound, PermissionDenied
        """

        def change(row: AnyRow, now: datetime) -> dict[str, Any]:
            if row.paused_at is None:
                return {}
            following = statements.timetable_of(row).next(after_last(row, now))
            return {"paused_at": None, "paused_by": None, "next_tick": following, "look_at": following}

        return self._change(organization, name, "resume", user, change)

    @alone()
    def submit(self, name: str, *, organization: str, user: str | None = None) -> Job:
        """Submit a job of the schedule now, as its user, even while the schedule is paused.

        Raises:
            ScheduleNotFound, OrganizationNotFound, PermissionDenied, SubmissionError
        """
        storable(name=name)
        seen = self._tenants.read(lambda connection: self._row(connection, organization, name), of=organization)
        ready = self.ticks.prepare(self._database, seen)

        def work(connection: Connection) -> tuple[tuple[Job, Sequence[Live]], Told]:
            row = self._row(connection, organization, name)
            if not statements.is_same(row, seen):
                raise StorageUnavailable(f"Schedule {name} was changed just now; nothing was submitted, try again.")
            job, news = self.ticks.job(connection, row, None, ready)
            return (job, news), Told(name, after={"job": str(job.id)})

        job, news = self._changed(organization, "submit", user, work)
        self._database.hint()
        self.ticks.tell(news)
        return job

    def delete(self, name: str, *, organization: str, user: str | None = None) -> None:
        """Delete a schedule. Its existing jobs stay.

        Raises:
            ScheduleNotFound, OrganizationNotFound, PermissionDenied
        """
        storable(name=name)

        def work(connection: Connection) -> tuple[None, Told]:
            row = statements.lock(connection, organization, name)
            if row is None or not statements.remove(connection, organization, name):
                raise unknown(organization, name)
            return None, Told(name, told(row))

        self._changed(organization, "delete", user, work)

    def _seen(
        self,
        connection: Connection,
        wanted: ScheduleDraft,
        parameters: Mapping[str, Any] | None,
        user: str | None,
        *,
        sees_payload: bool,
    ) -> tuple[AnyRow | None, Mapping[str, Any]]:
        """Return the present schedule, None if there is none, and the parameters that it is to have.

        Raises:
            PermissionDenied: `user` may not see the parameters, so they may not change as whom the jobs are submitted.
        """
        seen = statements.find(connection, wanted.organization, wanted.name)
        keeps = sees_payload or seen is None or seen.user_id == user  # otherwise they may hold others' secrets
        if not keeps and seen is not None and seen.user_id != wanted.user and parameters is None:
            raise PermissionDenied(
                f"The jobs of {wanted.name} are given what you may not see; to make them {wanted.user}'s, give all of "
                "their parameters anew."
            )
        return seen, wanted.plain(seen, parameters, lambda row: opened(self._keyring, connection, row), keeps=keeps)

    def _put(self, wanted: ScheduleDraft, seen: AnyRow | None, ready: Ready, user: str | None) -> Schedule | None:
        """Create or change the schedule; None if it has changed since it was `seen`."""
        organization, name = wanted.organization, wanted.name

        def work(connection: Connection) -> tuple[Schedule | None, Told | None]:
            # Locked before its schedules. The deletion of the organization locks in the same order, so it sees this
            # schedule.
            organizations.hold(connection, organization)
            before = statements.lock(connection, organization, name)
            now = self._database.clock.now(connection)
            if not statements.is_same(before, seen) or not self._store(connection, wanted, before, ready, now):
                return None, None
            earlier = told(before) if before is not None else None
            row = self._row(connection, organization, name)
            made = schedule_of(row, self._keyring.shown(connection), now)
            return made, Told(name, earlier, told(row), at=now)

        return self._changed(organization, "put", user, work)

    def _store(
        self, connection: Connection, wanted: ScheduleDraft, before: AnyRow | None, ready: Ready, now: datetime
    ) -> bool:
        """Create the schedule, or change the locked row; False if a concurrent `put` created it first."""
        organization, name = wanted.organization, wanted.name
        is_alike = before is not None and (before.cron is None) == (wanted.cron is None)
        times = wanted.timetable(before.start if before is not None and is_alike else now)
        schedule = before.id if before is not None else uuid7()
        # Checked as a job that is submitted now. The parameters are stored as that job would store them.
        checked = self._submitter.check(connection, wanted.submission(now, schedule, ready.payloads[0].given), ready)
        values = {**wanted.columns(times), "parameters": checked.parameters, "problem": None}
        if before is not None:
            goes_on = statements.timetable_of(before) == times
            following = before.next_tick if goes_on else times.next(after_last(before, now))
            values |= {"next_tick": following, "look_at": following if before.paused_at is None else None}
            statements.change(connection, organization, schedule, values)
            return True
        if statements.count(connection, organization) >= MOST:
            raise ConfigurationError(f"Organization {organization} has {MOST} schedules; delete one before.")
        following = times.next(now)
        names = {"organization_id": organization, "id": schedule, "name": name, "created_at": now}
        return statements.create(connection, {**names, **values, "next_tick": following, "look_at": following})

    def _change(
        self,
        organization: str,
        name: str,
        verb: str,
        user: str | None,
        change: Callable[[AnyRow, datetime], dict[str, Any]],
    ) -> Schedule:
        storable(name=name)

        def work(connection: Connection) -> tuple[_Unjudged, Told | None]:
            row = statements.lock(connection, organization, name)
            if row is None:
                raise unknown(organization, name)
            now, changed = self._database.clock.now(connection), None
            if values := change(row, now):
                statements.change(connection, organization, row.id, values)
                changed = Told(name, {"paused_by": row.paused_by}, {"paused_by": values["paused_by"]}, at=now)
            return self._shown(connection, [self._row(connection, organization, name)])[0], changed

        return judged(*self._changed(organization, verb, user, work))

    def _changed(self, organization: str, verb: str, user: str | None, work: Work[T]) -> T:
        action, right = f"schedules.{verb}", Right.SCHEDULES_CHANGE
        return self._tenants.change(action, work, organization, user, right, full=True)

    def _shown(self, connection: Connection, rows: Sequence[AnyRow], longest: float = inf) -> Sequence[_Unjudged]:
        """Return the public values of rows, with what `judged` takes: the job types as workers registered them."""
        types = self._catalogue.learn(connection, {row.job_type for row in rows})
        shown, now = self._keyring.shown(connection), self._database.clock.now(connection)
        return [(schedule_of(row, shown, now), types.get(row.job_type), to_judge(row, shown, longest)) for row in rows]

    def _row(self, connection: Connection, organization: str, name: str) -> AnyRow:
        row = statements.find(connection, organization, name)
        if row is None:
            raise unknown(organization, name)
        return row


def _labels(given: Mapping[str, str]) -> Mapping[str, str]:
    for name in (SCHEDULE, TICK):
        if name in given:
            raise InvalidParameters(f"The label {name} is set by the schedule itself; give your label another name.")
    return given


def _name(name: object) -> str:
    found = text("name", name)
    if not SCHEDULE_NAMES.fits(found):
        raise ConfigurationError(f"A schedule's name has no slash, and is neither '.' nor '..', unlike {found!r:.80}.")
    return found
