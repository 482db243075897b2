"""Cancel, retry and delete jobs, change the start and the priority of a waiting job, and check who may do so."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from pydantic_core import from_json
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from fairlane.config import HARD_PAYLOAD_LIMIT
from fairlane.domain import transitions
from fairlane.domain.arguments import choice, moment_of
from fairlane.domain.errors import (
    ConfigurationError,
    FairlaneError,
    IllegalTransition,
    InstallationError,
    InvalidParameters,
    JobNotFound,
    PermissionDenied,
    StorageUnavailable,
)
from fairlane.domain.jobs import Job, JobOrId, job_id_of
from fairlane.domain.permissions import ROLE_RIGHTS, Right
from fairlane.domain.sealing import Field
from fairlane.domain.secrets import changed, restored
from fairlane.domain.statuses import PRIORITY_OF_RANK, WAITING, JobStatus, Priority, Role
from fairlane.domain.texts import storable
from fairlane.domain.transitions import Start, Transition, refuse_to_delete_live
from fairlane.encryption.keyring import Keyring
from fairlane.encryption.sealing import KeyNotHere, Unreadable
from fairlane.engine.drafting import Payload
from fairlane.jobtypes.catalogue import Catalogue
from fairlane.store.engine import engine_of
from fairlane.store.statements import audit, cancel, cleanup, dead_letters, history, rows
from fairlane.store.statements.dead_letters import Edit
from fairlane.store.statements.locks import lock, lock_job
from fairlane.store.statements.transition import SYSTEM, write
from fairlane.store.tables import AnyRow, jobs
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory, Membership, is_operator
from fairlane.tenancy.tenants import Tenants

T = TypeVar("T")
# The values before a change, for the audit.
_BEFORE: Final[Mapping[str, Callable[[Connection, AnyRow], str | None]]] = {
    "priority": lambda _, row: PRIORITY_OF_RANK[row.priority],
    "run_at": lambda _, row: row.run_at.isoformat(),
    "resolution": lambda connection, row: dead_letters.resolution_of(connection, row.organization_id, row.id),
}


class ChangedSince(IllegalTransition):
    """The job has ended or was revived since the caller's moment."""


class _Edited(NamedTuple):
    """The new parameters for a retry, and the job's own, each checked; of the `row` at that moment.

    `new` may be the error that refuses them. `before` and `old` are None if its own can't be decrypted.
    """

    row: AnyRow
    before: Mapping[str, Any] | None
    new: Payload | FairlaneError
    old: Payload | None


class JobControl:
    """The verbs that change a job. `user=None` is the system, which may do all.

    Args:
        lock_seconds: how long to wait for a lock that another session holds, at most the database's own timeout.
    """

    def __init__(
        self,
        database: Database,
        directory: Directory,
        catalogue: Catalogue,
        keyring: Keyring,
        payload_limit: int = HARD_PAYLOAD_LIMIT,
        *,
        lock_seconds: float = inf,
    ) -> None:
        self._database = database
        self._lock_seconds = lock_seconds
        self._tenants = Tenants(database, directory, has_platform=True)
        self._catalogue = catalogue
        self._keyring = keyring
        self._payload_limit = payload_limit

    def cancel(
        self, job: JobOrId, organization: str, *, user: str | None, reason: str, same_since: datetime | None = None
    ) -> Job:
        """Cancel a waiting job at once, or ask a running one to stop.

        Args:
            same_since: only if it has neither ended nor come back to life since.

        Raises:
            JobNotFound, IllegalTransition, PermissionDenied, StorageUnavailable
            ChangedSince: it is not the same.
        """

        storable(reason=reason)

        def work(connection: Connection, row: AnyRow) -> Job:
            _refuse_unless_same(connection, row, same_since)
            now = self._database.clock.now(connection)
            cancel.cancel(connection, now, organization, row.id, actor=user or SYSTEM, reason=reason)
            return self._read(connection, organization, row.id)

        return self.change(job, organization, user, "cancel", work)

    def cancel_waiting(
        self, jobs: Sequence[UUID], organization: str, *, user: str | None, reason: str, same_since: datetime
    ) -> frozenset[UUID]:
        """Cancel the waiting jobs among these, in one transaction that waits for no lock on them, and return them.

        `cancel` says why another one was not canceled: another session holds the job, `user` may not cancel it, it
        runs, has ended or is not the same.

        Raises:
            PermissionDenied, StorageUnavailable, OrganizationNotFound
        """
        membership_of = self._tenants.membership(organization, user)

        def work(connection: Connection) -> frozenset[UUID]:
            with engine_of(connection).lock_timeout(connection, min(self._lock_seconds, self._database.lock_seconds)):
                locked = lock(connection, organization, jobs, skip_locked=True)
                membership, operates = membership_of(connection), is_operator(connection, user)
                changed = history.revived(connection, organization, locked, same_since)
                rows = [
                    row
                    for row in locked.values()
                    if JobStatus(row.status) in WAITING
                    and row.id not in changed
                    and (user is None or operates or _may(row, user, membership, Right.JOBS_CHANGE))
                ]
                if not rows:
                    return frozenset()
                now = self._database.clock.now(connection)
                cancel.cancel_waiting(connection, now, rows, actor=user or SYSTEM, reason=reason)
                told = [(row.id, {"status": row.status}, None) for row in rows]
                audit.record_all(connection, now, organization, user or SYSTEM, "jobs.cancel", told)
                return frozenset(row.id for row in rows)

        canceled = self._tenants.write(work, organization)
        self._database.hint()
        return canceled

    def retry(
        self,
        job: JobOrId,
        organization: str,
        *,
        user: str | None,
        parameters: Mapping[str, Any] | None = None,
        at: datetime | Callable[[Connection], datetime] | None = None,
        same_since: datetime | None = None,
    ) -> Job:
        """Queue a dead letter again, with a fresh count of retries, and revive the children that it took down.

        Args:
            parameters: to use instead of its own; a secret that is "[redacted]" in them stays unchanged.
            at: the earliest start; or a function that returns it, called in the transaction that retries the job.
            same_since: only if it has neither ended nor been revived since, and nobody has decided about it.

        Raises:
            JobNotFound, PermissionDenied, InvalidParameters, PayloadTooLarge, StorageUnavailable
            OrganizationNotFound: there is none, or it was deleted.
            IllegalTransition: it is no dead letter, a parent of it was deleted, or its parent is a dead letter, too:
                retry the parent, and its children follow.
            ChangedSince: it is not the same.
        """

        def work(connection: Connection, row: AnyRow) -> Job:
            _refuse_unless_same(connection, row, same_since)
            if same_since is not None and dead_letters.decided(connection, organization, row.id) is not None:
                raise IllegalTransition(f"A user has decided about job {row.id}; retry it by itself if you must.")
            edit = self._edit(connection, row, edited) if parameters is not None else None
            moment = at(connection) if callable(at) else at
            now = self._database.clock.now(connection)  # after `at`, so that a job that is due now is ready now
            dead_letters.retry(connection, now, organization, row.id, actor=user or SYSTEM, edit=edit, at=moment)
            return self._read(connection, organization, row.id)

        key = job_id_of(job, organization)
        self._tenants.require(organization, deleted_too=False)  # its jobs would only be dead letters again
        edited = self._edited(organization, key, parameters) if parameters is not None else None
        told = {"parameters": "edited"} if parameters is not None else None
        # With other parameters it is a different job, and runs as its submitter: operators act for nobody.
        return self.change(key, organization, user, "retry", work, after=told, by_operators=parameters is None)

    def delete(
        self,
        job: JobOrId,
        organization: str,
        *,
        user: str | None,
        same_since: datetime | None = None,
        deadline: float = inf,
    ) -> bool:
        """Delete an ended job with all its data; a worker's clean-up deletes its files soon after.

        A long history is deleted first, in pieces. Return False if the job is still there at the deadline: call again.

        Args:
            user: an admin or an operator; a member may not delete even their own.
            same_since: only if it has neither ended nor come back to life since.
            deadline: by `time.monotonic`; at least one piece is deleted.

        Raises:
            JobNotFound, PermissionDenied, StorageUnavailable
            IllegalTransition: it has not ended, a job that needs it has not, or a host's table refers to it.
            ChangedSince: it is not the same.
        """

        def work(connection: Connection, row: AnyRow) -> bool:
            _refuse_unless_same(connection, row, same_since)
            refuse_to_delete_live(row.id, row.status)
            cleanup.lock_to_delete(connection, organization, row.id)
            child = cleanup.live_child(connection, organization, row.id)
            if child is not None:
                remedy = "resolve or delete" if child.status == JobStatus.DEAD_LETTER else "wait for or cancel"
                raise IllegalTransition(
                    f"Job {child.id} depends on job {row.id} and is {child.status}: {remedy} that one first."
                )
            return bool(cleanup.delete_some(connection, self._database.clock.now(connection), organization, [row.id]))

        def delete() -> bool:
            return self.change(job, organization, user, "delete", work, right=Right.JOBS_DELETE)

        try:
            while not delete():  # between two pieces others have their turn
                if monotonic() > deadline:
                    return False
        except IntegrityError as error:  # of the statement or, if the foreign key is deferred, of the commit
            raise IllegalTransition(
                f"A table of the application still refers to job {job_id_of(job, organization)} by a foreign key; "
                "delete or change the rows that refer to it first."
            ) from error
        return True

    def run_now(self, job: JobOrId, organization: str, *, user: str | None) -> Job:
        """Let a job that has not started start at once.

        Raises:
            JobNotFound, PermissionDenied, StorageUnavailable
            IllegalTransition: it has started, or waits for parents.
        """
        return self._reorder(job, organization, user, "run", transitions.run_now)

    def reschedule(self, job: JobOrId, run_at: datetime, organization: str, *, user: str | None) -> Job:
        """Let a job that has not started start no earlier than `run_at`.

        Raises:
            JobNotFound, PermissionDenied, StorageUnavailable
            IllegalTransition: it has started.
            InvalidParameters: `run_at` is not a moment.
        """
        with _as_parameter():
            at = moment_of("run_at", run_at)
        after = {"run_at": at.isoformat()}
        return self._reorder(
            job, organization, user, "reschedule", lambda start, now: transitions.reschedule(start, at, now), after
        )

    def prioritize(self, job: JobOrId, priority: Priority | str, organization: str, *, user: str | None) -> Job:
        """Give a job that has not started another priority.

        Raises:
            JobNotFound, PermissionDenied, StorageUnavailable
            IllegalTransition: it has started.
            InvalidParameters: `priority` is not a priority.
        """
        with _as_parameter():
            wanted = choice(Priority, "priority", priority)
        after = {"priority": wanted}
        return self._reorder(
            job, organization, user, "prioritize", lambda start, _: transitions.prioritize(start, wanted), after
        )

    def _reorder(
        self,
        job: JobOrId,
        organization: str,
        user: str | None,
        verb: str,
        decide: Callable[[Start, datetime], Transition | None],
        after: Mapping[str, Any] | None = None,
    ) -> Job:
        """Make the transition that `decide` returns, under the job's lock."""

        def work(connection: Connection, row: AnyRow) -> Job:
            now = self._database.clock.now(connection)
            transition = decide(_start(row), now)
            if transition is not None:
                write(connection, now, organization, row.id, transition, actor=user or SYSTEM)
            return self._read(connection, organization, row.id)

        return self.change(job, organization, user, verb, work, after=after)

    def change(
        self,
        job: JobOrId,
        organization: str,
        user: str | None,
        verb: str,
        work: Callable[[Connection, AnyRow], T],
        *,
        after: Mapping[str, Any] | None = None,
        by_operators: bool = True,
        right: Right = Right.JOBS_CHANGE,
    ) -> T:
        """Run `work` under the job's lock, if the user may change the job.

        Admins and operators may change all jobs, other users their own jobs if their role gives them `right`. The user
        of trusted code is checked, too, so `Actor.change` would not be enough. To a stranger the job does not exist.
        The audit gets `after`, and the values before; it gets nothing if `work` returns False, which means: run it
        again. Without `by_operators` an operator may only do what their membership allows.

        Raises:
            JobNotFound, PermissionDenied, StorageUnavailable, and what `work` raises: then nothing was changed.
        """
        key = job_id_of(job, organization)
        storable(user=user)
        membership_of = self._tenants.membership(organization, user)

        def change(connection: Connection) -> T:
            with engine_of(connection).lock_timeout(connection, min(self._lock_seconds, self._database.lock_seconds)):
                row = lock_job(connection, organization, key)
                membership, operates = membership_of(connection), is_operator(connection, user)
                if row is None or (user is not None and membership is None and not operates):
                    raise JobNotFound(f"Organization {organization} has no job {key}.")
                if not operates or not by_operators:
                    _check_right(row, user, membership, verb, right)
                was = {name: of(connection, row) for name, of in _BEFORE.items() if name in (after or {})}
                done = work(connection, row)
                if done is False:
                    return done
                now = self._database.clock.now(connection)
                before = was or {"status": row.status}
                audit.record(
                    connection, now, organization, user or SYSTEM, f"jobs.{verb}", key, before=before, after=after
                )
                return done

        changed = self._tenants.write(change, organization)
        self._database.hint()
        return changed

    def _edited(self, organization: str, job_id: UUID, parameters: Mapping[str, Any]) -> _Edited | None:
        """Check the new parameters of a retry before the transaction, as others wait for that; None: no such job.

        The transaction raises the error, once it knows whether the user may change the job.
        """

        def look(connection: Connection) -> _Edited | None:
            row = rows.find(connection, organization, job_id)
            if row is None:
                return None
            self._catalogue.learn(connection, [row.job_type])
            try:
                before = self._parameters_of(connection, row)
                given = restored(parameters, before) if before is not None else parameters
            except (InstallationError, InvalidParameters) as error:
                return _Edited(row, None, error, None)
            old = Payload(organization, before, inf) if before is not None else None
            return _Edited(row, before, Payload(organization, given, self._payload_limit), old)

        edited = self._database.read(look, of=organization)
        known = self._catalogue.known(edited.row.job_type) if edited is not None else None
        if edited is not None and known is not None:
            for payload in (edited.new, edited.old):
                if isinstance(payload, Payload) and payload.check(known):
                    payload.hash_by(known)
        return edited

    def _edit(self, connection: Connection, row: AnyRow, edited: _Edited | None) -> Edit:
        now = rows.find(connection, row.organization_id, row.id)
        if edited is None or now is None or edited.row.parameters != now.parameters:
            raise StorageUnavailable(f"Job {row.id} was changed just now; it was not retried, try again.")
        if isinstance(edited.new, FairlaneError):
            raise edited.new
        job_type = self._catalogue.find(connection, [row.job_type])[row.job_type]
        prepared, key = edited.new.by(job_type), edited.new.hash_by(job_type)
        names: Sequence[str] = ("all",)
        old_keys: set[str] = set()
        if edited.before is not None and edited.old is not None:
            names = changed(edited.before, prepared.plain)
            with suppress(InvalidParameters):  # nobody submits again parameters that the type does not take any more
                old_keys = {edited.old.hash_by(job_type)}
        ring = self._keyring.rings(connection, [row.organization_id]).get(row.organization_id)
        if ring is None:
            return Edit(prepared.text, names, key, old_keys)
        # A plain key is from before the organization had an encryption key.
        hidden = {*old_keys, *map(ring.hidden, old_keys)}
        return Edit(ring.seal(row.id, Field.PARAMETERS, prepared.text), names, ring.hidden(key), hidden)

    def _parameters_of(self, connection: Connection, row: AnyRow) -> Mapping[str, Any] | None:
        """Return the stored parameters with their secrets; None if they can't be decrypted or read."""
        shown = self._keyring.shown(connection)
        try:
            before = from_json(shown.opened(row.organization_id, row.id, Field.PARAMETERS, row.parameters))
        except KeyNotHere as error:
            raise InstallationError(str(error)) from None
        except (Unreadable, ValueError):
            return None
        return before if isinstance(before, dict) else None

    def _read(self, connection: Connection, organization: str, job_id: UUID) -> Job:
        """Return the job as the transaction sees it."""
        wanted = rows.select_jobs().where(jobs.c.id == job_id)
        (job,) = rows.jobs_of(connection, organization, wanted, self._keyring.shown(connection))
        return job


def _refuse_unless_same(connection: Connection, row: AnyRow, since: datetime | None) -> None:
    """Refuse a locked job that has ended or was revived after this moment: the caller did not mean it."""
    if since is None:
        return
    has_ended = row.finished_at is not None and row.finished_at > since
    if has_ended or history.revived(connection, row.organization_id, [row.id], since):
        raise ChangedSince(f"Job {row.id} has ended since, or was retried; look at it before you change it.")


def _check_right(row: AnyRow, user: str | None, membership: Membership | None, verb: str, right: Right) -> None:
    if user is None or _may(row, user, membership, right):
        return
    why = "it is not their own" if right in ROLE_RIGHTS[Role.MEMBER] else "only admins may"
    raise PermissionDenied(f"{user} may not {verb} job {row.id}: {why}; ask an admin of {row.organization_id}.")


def _may(row: AnyRow, user: str, membership: Membership | None, right: Right) -> bool:
    if membership is None:
        return False
    own = right in ROLE_RIGHTS[membership.role] and row.submitted_by == user
    return membership.role is Role.ADMIN or own


def _start(row: AnyRow) -> Start:
    priority = PRIORITY_OF_RANK[row.priority]
    return Start(row.id, JobStatus(row.status), row.ready, row.unmet_parents, row.run_at, priority)


@contextmanager
def _as_parameter() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise InvalidParameters(str(error)) from error
