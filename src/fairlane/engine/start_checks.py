"""The start of claimed jobs: the checks at a job's start (R5), keys, checkpoints, and the results of parents.

A job ends only if the directory refuses it. Without an answer of the directory the job waits. A payload that can't be
decrypted counts as one that can't be decoded: the attempt fails, backs off and ends in dead letter. If only this
process lacks the key, no attempt is spent: another worker has the key, or this one will have it after a restart.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.events import Emit, KeyMissed
from fairlane.domain.outcomes import ErrorReport, Failed, Outcome, Refused, Released
from fairlane.domain.sealing import BROKEN, Field, is_sealed
from fairlane.domain.statuses import JobStatus, OrganizationStatus
from fairlane.domain.texts import PLATFORM, organization_of
from fairlane.domain.transitions import ORGANIZATION_GONE
from fairlane.encryption.keyring import Keyring
from fairlane.encryption.sealing import KeyNotHere, Ring, Unreadable
from fairlane.engine.cached_directory import CachedDirectory, DirectoryAway
from fairlane.engine.reports import AttemptInputs, ParentInput, with_results
from fairlane.store.line import Line
from fairlane.store.statements import attempts
from fairlane.store.statements.claim import Claimed
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory, Membership, Standing, memberships, stored_membership

# Seconds a job waits when the directory could not be asked about its user, or its key is not here.
DEFERRED: Final = 10.0
PERMISSION_LOST: Final = "Permission denied"  # R5 names the reason
KEY_NOT_HERE: Final = (
    "the worker that had the job can't use the organization's encryption key; "
    "`fairlane check` on the machine of that worker says why"
)
_UNDECODABLE: Final = "InvalidParameters"
_TOO_MANY_FILES: Final = "TooManyFiles"
_MOST_FILES: Final = 10_000  # of all parents together: a job that starts is told their names
_FILES_OF_PARENTS: Final = (
    f"its parents left more than {_MOST_FILES:,} files together, which is the most that a job is given; "
    "depend on fewer parents, or have them leave fewer files"
)
_NO_LABELS: Final = "{}"


# The complete inputs of an attempt, and its outcome if some of them can't be decrypted.
Read: TypeAlias = tuple[AttemptInputs, Outcome | None]


class ReadFacts(Protocol):
    """Read the complete inputs. Blocks, and raises StorageUnavailable."""

    def __call__(self, *, parents_as_text: bool) -> Read:
        """Return the inputs, with the results of parents as JSON text or as Python values."""


class Checked(NamedTuple):
    """A claimed job with the inputs from its row, or with the outcome that it already has.

    Attributes:
        read: reads the inputs with its checkpoint and the results of its parents; None: it has neither.
    """

    claimed: Claimed
    inputs: AttemptInputs
    decision: Outcome | None = None
    read: ReadFacts | None = None


@dataclass(slots=True)
class StartChecks:
    """The checks for a worker's claims. `locked`: organizations whose keys are not here; their jobs are not claimed."""

    database: Database
    directory: Directory
    keyring: Keyring
    emit: Emit
    locked: frozenset[str] = field(default=frozenset(), init=False)

    async def prepare_on(
        self, line: Line, claimed: Sequence[Claimed], standings: Mapping[str, Standing]
    ) -> list[Checked] | None:
        """Return each job as `prepare` does, on the event loop, without other reads than of new keys.

        None: a host's directory or other keys have to be read, in a thread by `prepare`.
        """
        if any(
            (one.user is not None and (one.organization == PLATFORM or isinstance(self.directory, CachedDirectory)))
            or is_gone(standings.get(one.organization))
            for one in claimed
        ):
            return None
        rings = await self.keyring.rings_on(line, {one.organization for one in claimed})
        if any(ring is not None and ring.is_locked for ring in rings.values()) or any(
            _is_of_newer_key(one, rings[one.organization]) for one in claimed
        ):
            return None  # keys have to be read again, or are not here
        members = self._claimed_members(claimed)
        return [self._checked(one, decision(one, standings, members), rings[one.organization]) for one in claimed]

    def prepare(self, claimed: Sequence[Claimed], standings: Mapping[str, Standing]) -> list[Checked]:
        """Return each job with the inputs from its row, or with the outcome that it already has.

        Args:
            standings: the standings of their organizations that the claim used.
        """
        members, stand, rings = self._members_of(claimed), self._ask_again(claimed, standings), self._rings(claimed)
        return [self._checked(one, decision(one, stand, members), rings.get(one.organization)) for one in claimed]

    def look_for_keys(self) -> None:
        """Check which of the missing keys are here now."""
        rings = self.keyring.rings_of(self.database, self.locked)
        self.locked = frozenset(one for one in self.locked if one in rings and rings[one].is_locked)

    def _rings(self, claimed: Sequence[Claimed]) -> Mapping[str, Ring]:
        """Return the keys of the organizations that have any; from now on skip lanes whose keys are not here."""
        rings = self.keyring.rings_of(self.database, {one.organization for one in claimed})
        for one in claimed:
            ring = rings.get(one.organization)
            if _is_of_newer_key(one, ring):
                self.keyring.forget(one.organization)  # the cached keys are from before the key was made
                rings |= self.keyring.rings_of(self.database, [one.organization])
        locked = {organization for organization, ring in rings.items() if ring.is_locked}
        for organization in sorted(locked - self.locked):
            self.emit(KeyMissed(organization, rings[organization].problem or ""))
        self.locked |= locked
        return rings

    def _checked(self, one: Claimed, decision: Outcome | None, ring: Ring | None) -> Checked:
        """Return the job as its attempt begins, decrypted if its organization has keys.

        Args:
            decision: of the checks at the job's start; it takes precedence.
        """
        if decision is None and ring is not None:
            try:
                ring.check_usable()
                if is_sealed(one.parameters):
                    one = one._replace(parameters=ring.open(one.id, Field.PARAMETERS, one.parameters))
            except Unreadable as error:
                decision = _trouble(one.job_type, error)
        try:
            inputs = _inputs(one)
        except (ValueError, RecursionError):
            # A person changed them by hand. Such a job must not keep the others of its round from beginning.
            decision = decision or _undecodable(one.job_type, Unreadable("its labels are no JSON.", BROKEN))
            inputs = _inputs(one._replace(labels=_NO_LABELS))
        if ring is not None:
            inputs = inputs._replace(is_sealed=True)
        has_more = one.attempt > 1 or one.has_parents
        read = partial(self._read, inputs, has_parents=one.has_parents) if has_more else None
        return Checked(one, inputs, decision, read)

    def _read(self, job: AttemptInputs, *, has_parents: bool, parents_as_text: bool) -> Read:
        """Return the inputs with the checkpoint and the results of parents, for `Checked.read`.

        Texts are decrypted and decoded after the transaction. For large results this takes longer than the time for
        which PostgreSQL lets a transaction be idle.
        """
        organization = job.organization

        def work(connection: Connection) -> tuple[str | None, Sequence[AnyRow], Sequence[AnyRow], Ring | None]:
            state = attempts.checkpoint_of(connection, organization, job.job_id) if job.attempt > 1 else None
            rows = attempts.parents_of(connection, organization, job.job_id) if has_parents else ()
            parents = [row.id for row in rows]
            files = attempts.artifacts_of(connection, organization, parents, limit=_MOST_FILES + 1) if rows else ()
            shown, ring = self.keyring.shown(connection), None
            for text in (state, *(row.value for row in rows)):
                if text is not None and is_sealed(text):
                    ring = shown.ring_of(organization, text)
            return state, rows, files, ring

        try:
            state, rows, files, ring = self.database.read(work)
            if len(files) > _MOST_FILES:
                mark = f"{_TOO_MANY_FILES} {job.job_type}"
                report = ErrorReport(_TOO_MANY_FILES, _FILES_OF_PARENTS, permanent=True, fingerprint=mark)
                return job, Failed(report, is_of_handler=False)

            def opened(job_id: UUID, field: Field, text: str) -> str:
                return ring.open(job_id, field, text) if ring is not None and is_sealed(text) else text

            if state is not None:
                state = opened(job.job_id, Field.CHECKPOINT, state)
            inputs = job._replace(checkpoint=state, parents=_parents(rows, files, opened))
            return (inputs if parents_as_text else with_results(inputs)), None
        except Unreadable as error:
            return job, _trouble(job.job_type, error)
        except (ValueError, RecursionError):
            return job, _undecodable(job.job_type, Unreadable("the result of a parent is no JSON.", BROKEN))

    def _ask_again(
        self, claimed: Sequence[Claimed], standings: Mapping[str, Standing]
    ) -> Mapping[str, Standing] | None:
        """Return the standings of these jobs' organizations; None: the directory gave no answer.

        Jobs of a missing organization end, so ask again about such organizations.
        """
        gone = {one.organization for one in claimed if is_gone(standings.get(one.organization))}
        if not gone:
            return standings
        try:
            again = self.directory.organizations(gone)
        except DirectoryAway:
            return None
        return {one: each for one, each in standings.items() if one not in gone} | dict(again)

    def _members_of(self, claimed: Sequence[Claimed]) -> Mapping[tuple[str, str], Membership] | None:
        """Return the members among the jobs' users; None: a host gives no answer."""
        members = self._claimed_members(claimed)
        of_platform = {(PLATFORM, one.user) for one in claimed if one.user is not None and one.organization == PLATFORM}
        if members is None or not of_platform:
            return members
        return {**members, **self.database.look(lambda ours: memberships(ours, of_platform), of=PLATFORM)}

    def _claimed_members(self, claimed: Sequence[Claimed]) -> Mapping[tuple[str, str], Membership] | None:
        """Return the same without the platform's operators, as the claim has read them."""
        if not isinstance(self.directory, CachedDirectory):
            return {
                (one.organization, one.user): member
                for one in claimed
                if one.user is not None and one.role is not None
                if (member := stored_membership(one.role, one.permissions or "[]")) is not None
            }
        needs = {(one.organization, one.user, one.required_permission) for one in claimed if one.user is not None}
        try:
            return self.directory.members_for(needs) if needs else {}
        except DirectoryAway:
            return None


def is_gone(standing: Standing | None) -> bool:
    """Return True if there is no such organization."""
    return standing is None or standing.status is OrganizationStatus.DELETED


def decision(
    claimed: Claimed,
    standings: Mapping[str, Standing] | None,
    members: Mapping[tuple[str, str], Membership] | None,
) -> Outcome | None:
    """Return the decision of the checks; None = begin. `standings`, `members`: None = the directory gave no answer."""
    if standings is None:
        return Released("the directory could not be asked about its organization", DEFERRED)
    if is_gone(standings.get(claimed.organization)):
        return Refused(ORGANIZATION_GONE)
    if claimed.user is None:
        return None
    if members is None:
        return Released("the directory could not be asked about its user", DEFERRED)
    membership = members.get((claimed.organization, claimed.user))
    if membership is None:
        return Refused(
            PERMISSION_LOST,
            f"{claimed.user} is no longer a member of {claimed.organization}; retry it once they are a member again, "
            "or submit it as another user",
        )
    if not membership.may_submit(claimed.required_permission):
        right = f", which needs {claimed.required_permission}" if claimed.required_permission is not None else ""
        return Refused(
            PERMISSION_LOST,
            f"{claimed.user} may no longer submit {claimed.job_type} in {claimed.organization}{right}; give them the "
            "right and retry it, or submit it as another user",
        )
    return None


def _is_of_newer_key(one: Claimed, ring: Ring | None) -> bool:
    return is_sealed(one.parameters) and (ring is None or not ring.knows(one.parameters))


def _trouble(job_type: str, error: Unreadable) -> Outcome:
    if isinstance(error, KeyNotHere):
        # The organization's people read this; `fairlane check` tells the operator what to do.
        return Released(KEY_NOT_HERE, DEFERRED)
    return _undecodable(job_type, error)


def _undecodable(job_type: str, error: Unreadable) -> Failed:
    message = f"payload not decodable: {error}"
    report = ErrorReport(_UNDECODABLE, message, fingerprint=f"{_UNDECODABLE} sealed {job_type}")
    return Failed(report, is_of_handler=False)


def _inputs(claimed: Claimed) -> AttemptInputs:
    return AttemptInputs(
        organization_of(claimed.organization),
        claimed.id,
        claimed.job_type,
        claimed.user,
        claimed.attempt,
        claimed.lease_token,
        claimed.parameters,
        json.loads(claimed.labels) if claimed.labels != _NO_LABELS else {},
        claimed.timeout,
        headers=claimed.headers,
    )


def _parents(
    rows: Sequence[AnyRow], files: Sequence[AnyRow], opened: Callable[[UUID, Field, str], str]
) -> tuple[ParentInput, ...]:
    by_parent: dict[UUID, dict[str, tuple[str, int]]] = defaultdict(dict)
    for file in files:
        by_parent[file.job_id][file.name] = (file.path, file.size)
    return tuple(
        ParentInput(
            id=row.id,
            job_type=row.job_type,
            status=JobStatus(row.status),
            result=opened(row.id, Field.RESULT, row.value) if row.value is not None else None,
            labels=json.loads(row.labels),
            artifacts=by_parent[row.id],
            headers=row.headers,
        )
        for row in rows
    )
