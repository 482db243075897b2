"""Submitting: one path for one job and for many, in a transaction of ours or of the caller's."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from fairlane.config import Settings
from fairlane.control.batch import Submission, refuse_cycles, refuse_misfits
from fairlane.control.drafting import Answers, draft, sealed
from fairlane.domain.errors import (
    CommitUnanswered,
    FairlaneError,
    JobTypeDisabled,
    JobTypeNotFound,
    StorageUnavailable,
)
from fairlane.domain.events import Emit, QueueLimitWarning
from fairlane.domain.jobs import Job
from fairlane.domain.organizations import is_organization_id, is_user_id
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.registry.catalogue import Catalogue, RegisteredType
from fairlane.registry.directory import (
    Directory,
    Membership,
    Standing,
    StoredDirectory,
    memberships,
    standings,
)
from fairlane.registry.keyring import Keyring
from fairlane.registry.sealing import Ring
from fairlane.store.borrow import aside, borrow, lock_timeout
from fairlane.store.driver_errors import is_retryable
from fairlane.store.statements import admission, rows, submit_plain
from fairlane.store.statements.admission import Live
from fairlane.store.statements.drafts import Draft, at
from fairlane.store.statements.submit import Submitted
from fairlane.store.statements.submit import submit as insert
from fairlane.store.statements.submit_plain import Granted
from fairlane.store.tables import jobs
from fairlane.store.transaction import Database, translated

# How the keys of organizations are looked for, given the connection that is at hand.
Look = Callable[[Connection, Collection[str]], dict[str, Ring]]

_NEARLY_FULL = 0.8
_THEIRS = "the one that your connection leads to"
_UNREGISTERED = (
    "The connection to the database broke while this process's job types were being registered; "
    "nothing else was changed, try again."
)


class Submitter:
    """Checks submissions and hands them to the store, all or nothing."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        directory: Directory,
        keyring: Keyring,
        settings: Settings,
        emit: Emit,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._directory = directory
        self._keyring = keyring
        self._settings = settings
        self._emit = emit
        self._has_round_trips = database.engine.dialect.name == "postgresql"

    def submit_many(self, submissions: Sequence[Submission], connection: object | None = None) -> list[Job]:
        """Submit all, or none: an error names the index.

        Args:
            connection: a connection or transaction of the caller's; nothing is visible before the caller commits it.

        Raises:
            SubmissionError, StorageUnavailable, ConfigurationError: nothing was submitted.
            CommitUnanswered: all or none were submitted; the message names a job to look for.
        """
        if not submissions:
            return []
        with at(None):
            refuse_misfits(submissions)
            refuse_cycles(submissions)
            answers = self.ask_host(submissions)
            if connection is not None:
                return self._submit_in_theirs(connection, submissions, answers)
            self.register_types()
            submitted, live = self._submit_in_ours(submissions, answers)
        self._database.hint()
        self.warn(live)
        return submitted

    def submit_within(
        self, connection: Connection, submissions: Sequence[Submission], answers: Answers | None
    ) -> tuple[list[Job], list[Live]]:
        """Submit all, or none, in a transaction of ours that does more; the host was asked before.

        Returns:
            The jobs, and what to `warn` of when that is committed.

        Raises:
            SubmissionError, ConfigurationError: to be rolled back.
        """
        with at(None):
            refuse_misfits(submissions)
            refuse_cycles(submissions)
            return self._submit(connection, submissions, answers)

    def check(self, connection: Connection, submission: Submission, answers: Answers | None) -> Draft:
        """A submission as it would be stored, having passed all checks that need no other job's row.

        Raises:
            SubmissionError, ConfigurationError
        """
        with at(None):
            refuse_misfits([submission])
            (checked,) = self._drafts(connection, [submission], answers or _ask(connection, [submission]))
            return checked

    def _submit_in_ours(
        self, submissions: Sequence[Submission], answers: Answers | None
    ) -> tuple[list[Job], list[Live]]:
        made: tuple[list[Job], list[Live]] = [], []

        def work(ours: Connection) -> tuple[list[Job], list[Live]]:
            nonlocal made
            made = self._submit(ours, submissions, answers)
            return made

        try:
            plain = self._submit_plain(submissions[0], answers) if len(submissions) == 1 else None
            return ([plain], []) if plain is not None else self._database.write(work, of=_organizations(submissions))
        except CommitUnanswered as error:
            return self._look_for(submissions, made, error)

    def _look_for(
        self, submissions: Sequence[Submission], made: tuple[list[Job], list[Live]], error: CommitUnanswered
    ) -> tuple[list[Job], list[Live]]:
        """What was submitted, after a commit without an answer. Ids were drawn before: all jobs are there, or none.

        Args:
            made: the jobs as they were to be committed; none where one statement made the only one.

        Raises:
            CommitUnanswered: they are not there, or nobody can look; they may come still.
        """
        drawn = {one.id for one in submissions}
        jobs, live = made
        new = [job for job in jobs if job.id in drawn]
        if jobs and not new:
            return made
        first: Job | Submission = new[0] if new else submissions[0]
        found = self._find(first.organization, first.id)
        if found is None:
            raise CommitUnanswered(
                "The connection to the database broke while the submission was being committed. "
                f"Look whether job {first.id} is there before you submit again: a batch is there whole or not at all."
            ) from error
        return jobs or [found], live

    def _find(self, organization: str, job_id: UUID) -> Job | None:
        with suppress(StorageUnavailable):
            return next(
                iter(self._database.read(lambda ours: self._read(ours, organization, {job_id}), of=organization)), None
            )
        return None

    def _submit_plain(self, submission: Submission, answers: Answers | None) -> Job | None:
        """Submit in one statement, which proves what is taken for granted here: that nothing is in the way.

        Returns:
            None where something may be, or where the database has no round trips to save: nothing was done.

        Raises:
            CommitUnanswered
        """
        known = self._catalogue.known(submission.job_type) if self._has_round_trips else None
        granted = answers or _grant(submission)
        if known is None or granted is None:
            return None
        try:
            plain = draft(submission, known.type, granted, self._settings.payload_limit)
        except FairlaneError:
            return None  # Of several refusals it is the general way that knows which comes first.
        if not submit_plain.is_plain(plain):
            return None
        proof = Granted(known.documents, _roles_for(known.type.options.requires_permission), granted.of_host)

        def work(ours: Connection) -> Job | None:
            # Asked when the connection is there: keys grow old while it is waited for.
            ring = self._keyring.rings(ours, [plain.organization]).get(plain.organization)
            stored = sealed(plain, ring) if ring is not None else plain
            return submit_plain.submit(ours, self._database.clock, stored, proof)

        return self._database.write_one(work, of=submission.organization)

    def _submit_in_theirs(
        self, connection: object, submissions: Sequence[Submission], answers: Answers | None
    ) -> list[Job]:
        # Nobody is warned of a nearly full queue: whether the caller commits is not known here.
        try:
            with (
                translated(_THEIRS),
                borrow(connection) as theirs,
                lock_timeout(theirs, self._settings.lock_timeout, _organizations(submissions)),
            ):
                return self._submit(theirs, submissions, answers, self._rings_beside)[0]
        except StorageUnavailable as error:
            if isinstance(error.__cause__, DBAPIError) and is_retryable(error.__cause__):
                earlier = self._earlier_jobs(submissions, answers)
                if earlier is not None:
                    return earlier
            raise

    def _rings_beside(self, theirs: Connection, organizations: Collection[str]) -> dict[str, Ring]:
        """The keys of now: at repeatable read the caller's snapshot may be from before there was one.

        On SQLite who has such a snapshot can't write; and a database in memory has no second connection.
        """
        if not self._has_round_trips:
            return self._keyring.rings(theirs, organizations)
        return aside(lambda: self._keyring.rings_of(self._database, organizations))

    def _earlier_jobs(self, submissions: Sequence[Submission], answers: Answers | None) -> list[Job] | None:
        """At repeatable read the caller's snapshot may hide the jobs that have taken the keys; ours shows them.

        Raises:
            DuplicateJob
        """

        def look(ours: Connection) -> list[Job] | None:
            drafts = self._drafts(ours, submissions, answers or _ask(ours, submissions))
            found = admission.earlier_jobs(ours, self._database.clock.now(ours), drafts)
            return self._jobs_of(ours, drafts, Submitted(found, [], [None] * len(found))) if found is not None else None

        return self._database.read(look, of=_organizations(submissions))

    def register_types(self) -> None:
        """Write this process's job types to the database, if it has news.

        Raises:
            StorageUnavailable, ConfigurationError: the next call writes them.
        """
        if self._catalogue.has_news:
            try:
                self._database.write(self._catalogue.write)()
            except CommitUnanswered as error:
                # To write them twice does no harm, and who submits must not look for a job that was never sent.
                raise StorageUnavailable(_UNREGISTERED) from error

    def ask_host(self, submissions: Sequence[Submission]) -> Answers | None:
        """What a host's directory says, before the transaction, as it may take long. None: ours is asked within."""
        if isinstance(self._directory, StoredDirectory):
            return None
        organizations, pairs = _organizations(submissions), _pairs(submissions)
        return aside(
            lambda: Answers.of_the_host(self._directory.organizations(organizations), self._directory.members(pairs))
        )

    def _submit(
        self,
        connection: Connection,
        submissions: Sequence[Submission],
        answers: Answers | None,
        look: Look | None = None,
    ) -> tuple[list[Job], list[Live]]:
        drafts = self._drafts(connection, submissions, answers or _ask(connection, submissions), look)
        submitted = insert(connection, self._database.clock, drafts)
        return self._jobs_of(connection, drafts, submitted), submitted.live

    def warn(self, organizations: Sequence[Live]) -> None:
        """Tell once when an organization's live jobs pass 80 % of its limit (R4)."""
        for one in organizations:
            if one.before < _NEARLY_FULL * one.limit <= one.after:
                self._emit(QueueLimitWarning(one.organization, one.after, one.limit))

    def _drafts(
        self, connection: Connection, submissions: Sequence[Submission], answers: Answers, look: Look | None = None
    ) -> list[Draft]:
        drafts, limit = [], self._settings.payload_limit
        with at() as position:
            for position.index, submission in enumerate(submissions):
                answers.check_organization(submission.organization)
        found = self._types(connection, submissions)
        with at() as position:
            for position.index, submission in enumerate(submissions):
                drafts.append(draft(submission, found[submission.job_type], answers, limit))
        rings = (look or self._keyring.rings)(connection, _organizations(submissions))
        return [sealed(one, rings[one.organization]) if one.organization in rings else one for one in drafts]

    def _types(self, connection: Connection, submissions: Sequence[Submission]) -> dict[str, RegisteredType]:
        try:
            return self._catalogue.find(connection, [one.job_type for one in submissions])
        except (JobTypeDisabled, JobTypeNotFound):
            # Which of them: asked again one by one, as only a refusal needs to know.
            for index, one in enumerate(submissions):
                with at(index):
                    self._catalogue.find(connection, [one.job_type])
            raise

    def _jobs_of(self, connection: Connection, drafts: Sequence[Draft], submitted: Submitted) -> list[Job]:
        """The drafts' jobs; only those are read that are not just as they were inserted."""
        found = zip(drafts, submitted.ids, submitted.jobs, strict=True)
        unknown = {(draft.organization, job_id) for draft, job_id, job in found if job is None}
        by_key: dict[tuple[str, UUID], Job] = {}
        for organization in sorted({organization for organization, _ in unknown}):
            mine = {job_id for owner, job_id in unknown if owner == organization}
            by_key |= {(organization, job.id): job for job in self._read(connection, organization, mine)}
        return [
            job or by_key[draft.organization, job_id]
            for draft, job_id, job in zip(drafts, submitted.ids, submitted.jobs, strict=True)
        ]

    def _read(self, connection: Connection, organization: str, ids: Collection[UUID]) -> Sequence[Job]:
        wanted = rows.select_jobs().where(jobs.c.id.in_(sorted(ids)))
        return rows.jobs_of(connection, organization, wanted, self._keyring.shown(connection))


def _grant(submission: Submission) -> Answers | None:
    """What the directory will mostly say; None for names of which it knows nothing."""
    organization, user = submission.organization, submission.user
    if not is_organization_id(organization) or not (user is None or is_user_id(user)):
        return None
    members = {(organization, user): Membership(Role.ADMIN)} if user is not None else {}
    return Answers({organization: Standing(OrganizationStatus.ACTIVE)}, members)


def _roles_for(permission: str | None) -> list[Role]:
    """The roles that may submit what requires the permission, whatever other permissions a member has."""
    return [role for role in Role if Membership(role).may_submit(permission)]


def _ask(connection: Connection, submissions: Sequence[Submission]) -> Answers:
    return Answers(standings(connection, _organizations(submissions)), memberships(connection, _pairs(submissions)))


def _organizations(submissions: Sequence[Submission]) -> Collection[str]:
    return {one.organization for one in submissions}


def _pairs(submissions: Sequence[Submission]) -> Collection[tuple[str, str]]:
    return {(one.organization, one.user) for one in submissions if one.user is not None}
