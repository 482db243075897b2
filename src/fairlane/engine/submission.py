"""Submit jobs: one path for one job and for many, in a transaction of Fairlane's or of the caller's."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection

from fairlane.config import Settings
from fairlane.domain.errors import (
    CommitUnanswered,
    ConfigurationError,
    FairlaneError,
    JobTypeDisabled,
    JobTypeNotFound,
    StorageUnavailable,
)
from fairlane.domain.events import Emit, QueueLimitWarning
from fairlane.domain.jobs import Job
from fairlane.domain.statuses import JobStatus
from fairlane.domain.texts import PLATFORM
from fairlane.domain.timing import LOCK_WAIT_OF_MOMENT
from fairlane.encryption.keyring import Keyring
from fairlane.encryption.sealing import Ring
from fairlane.engine.batch import Submission, refuse_misfits
from fairlane.engine.drafting import Answers, Drafting, Hopes, Payload, Ready, is_hashed, sealed
from fairlane.engine.middleware import OnSubmit, around_submission
from fairlane.jobtypes.catalogue import Catalogue, RegisteredType, held_types
from fairlane.store.borrow import Home, aside, borrow
from fairlane.store.driver_errors import is_held_up, is_lost_race, is_read_only
from fairlane.store.engine import engine_of
from fairlane.store.shared_threads import SharedThreads
from fairlane.store.statements import admission, new_jobs, rows
from fairlane.store.statements.admission import Live
from fairlane.store.statements.drafts import Draft, at
from fairlane.store.statements.submit import Submitted
from fairlane.store.statements.submit import submit as insert
from fairlane.store.tables import jobs
from fairlane.store.transaction import Database, translated
from fairlane.tenancy.directory import Directory, StoredDirectory, memberships

# A function that returns the keys of organizations, given the present connection.
Look = Callable[[Connection, Collection[str]], dict[str, Ring]]

_NEARLY_FULL = 0.8
_FEW = 100  # parameters
_SHORT = 10_000  # characters of them
_SCALARS = frozenset({str, int, float, bool, type(None)})
CHUNK = 250  # jobs of one statement; the next is written while PostgreSQL inserts these
_THEIRS = "the one that your connection leads to"
# A submission that waits for another transaction's lock keeps a connection of the pool busy. So each first waits for a
# moment only. If that is not enough, it waits for its turn, without a connection. There are half as many turns as the
# pool has connections.
_EACH = 2  # turns of one organization
CROWDED = "Too many submissions wait for locks that other transactions hold; nothing was submitted, try again."
_UNREGISTERED = "The connection to the database broke while job types were being registered; try again."


class Submitter:
    """Check submissions and hand them to the store, all or nothing."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        directory: Directory,
        keyring: Keyring,
        settings: Settings,
        emit: Emit,
        *,
        on_submit: Sequence[OnSubmit],
    ) -> None:
        self._database = database
        self._home = Home(database)
        self._catalogue = catalogue
        self._directory = directory
        self._keyring = keyring
        self._settings = settings
        self._emit = emit
        self._on_submit = on_submit  # grows as the application is imported
        self._hopeful = Drafting(Hopes({}, {}))
        self.lock_timeout = settings.lock_timeout
        self.turns = SharedThreads(settings.pool_size, "fairlane-submit", each=_EACH)

    def submit_many(self, submissions: Sequence[Submission], connection: object | None = None) -> list[Job]:
        """Submit all, or none: an error names the index.

        Args:
            connection: a connection or transaction of the caller; nothing is visible before the caller commits it.

        Raises:
            SubmissionError, StorageUnavailable, ConfigurationError: nothing was submitted.
            CommitUnanswered: all or none were submitted; the message names a job to look for.
        """
        refuse_misfits(submissions)
        with self.around(submissions) as given:
            return self._submit_many(given, connection)

    def around(self, submissions: Sequence[Submission]) -> AbstractContextManager[Sequence[Submission]]:
        """Return a context manager in which the application's functions are around submissions without misfits."""
        if not self._on_submit or not submissions:
            return nullcontext(submissions)
        return around_submission(self._on_submit, submissions, self._emit)

    def _submit_many(self, submissions: Sequence[Submission], connection: object | None) -> list[Job]:
        if submissions and connection is not None:
            with at(None):
                return self._submit_on_connection(connection, submissions, self.prepare(submissions))
        try:
            return self.submit_in_own_transaction(submissions, LOCK_WAIT_OF_MOMENT)
        except StorageUnavailable as error:
            if not is_held_up(error):
                raise
        with self.turns.turn({one.organization for one in submissions}, self.lock_timeout) as has_come:
            if not has_come:
                raise StorageUnavailable(CROWDED)
            return self.submit_in_own_transaction(submissions)

    def submit_in_own_transaction(
        self, submissions: Sequence[Submission], lock_seconds: float | None = None
    ) -> list[Job]:
        """Submit all, or none, in a transaction of Fairlane's own. `refuse_misfits` has checked the submissions.

        Args:
            lock_seconds: how long to wait for locks; None = as long as the settings say; for a caller that has a turn.
        """
        if not submissions:
            return []
        with at(None):
            self.register_types(frozenset(one.job_type for one in submissions))
            ready = self.prepare(submissions, self._database)
            submitted, live = self._submit_prepared(submissions, ready, lock_seconds)
        self._database.hint()
        self.warn(live)
        return submitted

    def prepare(
        self, submissions: Sequence[Submission], database: Database | None = None, *, by_handler: bool = True
    ) -> Ready:
        """Do the slow work before the transaction: ask a host's directory, check parameters, and hash them.

        The transaction raises the errors: only the transaction knows which error comes first.

        Args:
            database: where to read types that this process does not know yet; None = the transaction reads them.
            by_handler: whether the handlers' own types and validators check the parameters, too.
        """
        answers = self._ask_host(submissions)
        names = {one.job_type for one in submissions}
        types = self._known(names)
        if database is not None and (unknown := names - types.keys()):
            database.look(lambda connection: self._catalogue.learn(connection, unknown))
            types |= self._known(unknown)
        limit = self._settings.payload_limit
        payloads = [Payload(one.organization, one.parameters, limit, by_handler=by_handler) for one in submissions]
        for one, payload in zip(submissions, payloads, strict=True):
            found = types.get(one.job_type)
            if found is not None and not payload.check(found):
                break  # the transaction ends here
            if found is not None and is_hashed(one, found):
                payload.hash_by(found)
        return Ready(answers, payloads, types)

    def _known(self, names: Collection[str]) -> dict[str, RegisteredType]:
        return {name: known for name in names if (known := self._catalogue.known(name)) is not None}

    def submit_in_open_transaction(
        self, connection: Connection, submissions: Sequence[Submission], ready: Ready
    ) -> tuple[list[Job], list[Live]]:
        """Submit all, or none, in a transaction of Fairlane's own that does more.

        Returns:
            The jobs, and the organizations to `warn` about after the commit.

        Raises:
            SubmissionError, ConfigurationError: roll back.
        """
        refuse_misfits(submissions)
        with at(None), self.around(submissions) as given:
            return self._submit_step_by_step(connection, given, ready)

    def check(self, connection: Connection, submission: Submission, ready: Ready) -> Draft:
        """Return the draft of a submission that has passed all checks that need no other job's row.

        Raises:
            SubmissionError, ConfigurationError
        """
        refuse_misfits([submission])
        with at(None):
            (checked,) = self._drafts(connection, [submission], ready)
            return checked

    def _submit_prepared(
        self, submissions: Sequence[Submission], ready: Ready, lock_seconds: float | None
    ) -> tuple[list[Job], list[Live]]:
        made: tuple[list[Job], list[Live]] = [], []
        plain = self._plain(submissions, ready)

        def work(ours: Connection) -> tuple[list[Job], list[Live]]:
            nonlocal made
            moment = None
            if plain is not None:  # on SQLite only: on PostgreSQL `_submit_plain` has tried to submit them
                moment = self._database.kind.insert_plain_jobs(ours, self._database.clock, plain.chunks())
            made = (
                (plain.jobs(moment), [])
                if plain and moment is not None
                else self._submit_step_by_step(ours, submissions, ready)
            )
            return made

        try:
            jobs = self._submit_plain(plain, lock_seconds) if plain is not None else None
            if jobs is not None:
                return jobs, []
            return self._database.write_with_others(work, of=_organizations(submissions), lock_seconds=lock_seconds)
        except CommitUnanswered as error:
            return self.find_unanswered(submissions, error, made)

    def find_unanswered(
        self,
        submissions: Sequence[Submission],
        error: CommitUnanswered,
        made: tuple[list[Job], list[Live]] | None = None,
    ) -> tuple[list[Job], list[Live]]:
        """Return all jobs of a commit without an answer, or none; their ids were drawn before.

        Args:
            made: the jobs as the transaction made them; None if they were submitted at once.

        Raises:
            CommitUnanswered: they are not there, or the database can't be read; they may still appear.
        """
        drawn = {one.id for one in submissions}
        jobs, live = made or ([], [])
        new = [job for job in jobs if job.id in drawn]
        if jobs and not new:
            return jobs, live
        wanted: Sequence[Job | Submission] = new[:1] or submissions
        found, first = self._find(wanted), wanted[0]
        if not found:
            raise CommitUnanswered(
                "The connection to the database broke while the submission was being committed. "
                f"Look whether job {first.id} is there before you submit again: a batch is there whole or not at all."
            ) from error
        return jobs or found, live

    def _find(self, wanted: Sequence[Job | Submission]) -> list[Job]:
        """Return the jobs of these ids; none if one is missing, or the database can't be read."""
        ids = {(one.organization, one.id) for one in wanted}
        with suppress(StorageUnavailable):
            found = self._database.read(lambda ours: self.read_all(ours, ids), of=_organizations(wanted))
            return [found[one.organization, one.id] for one in wanted] if len(found) == len(ids) else []
        return []

    def _plain(self, submissions: Sequence[Submission], ready: Ready, *, ask: bool = True) -> "Plain | None":
        """Return the submissions as plain jobs: they need no earlier query, as their statements check all assumptions.

        None: something may refuse a submission, so they are submitted step by step.

        Args:
            ask: whether to read keys of their organizations that are not known.
        """
        if not {one.job_type for one in submissions} <= ready.types.keys():
            return None
        if PLATFORM in _organizations(submissions):
            return None  # the statement does not take on the role that its rows need
        if ask:
            self._keyring.rings_of(self._database, _organizations(submissions))
        drafting = self._hopeful if ready.answers is None else Drafting(ready.answers)
        return Plain(submissions, ready, drafting, self._keyring)

    def plain_for_loop(self, submission: Submission) -> "Plain | None":
        """Return a submission without misfits that an event loop may insert: its draft needs no query and no wait.

        None: it has to be submitted in a thread, which may also refuse it.
        """
        if not isinstance(self._directory, StoredDirectory):
            return None
        name = submission.job_type
        known = self._catalogue.known(name)
        if known is None or known.judge is not None or self._catalogue.news([name]) or not _is_small(submission):
            return None
        return self._plain([submission], self.prepare([submission]), ask=False)

    def _submit_plain(self, plain: "Plain", lock_seconds: float | None) -> list[Job] | None:
        moment = new_jobs.at_once(self._database, plain.chunks, is_alone=plain.is_alone, lock_seconds=lock_seconds)
        return plain.jobs(moment) if moment is not None else None

    def _submit_on_connection(self, connection: object, submissions: Sequence[Submission], ready: Ready) -> list[Job]:
        # No warning of a nearly full queue: it is not known whether the caller commits.
        try:
            with (
                translated(_THEIRS),
                borrow(connection) as theirs,
                engine_of(theirs).lock_timeout(theirs, self._settings.lock_timeout, _organizations(submissions)),
            ):
                self._home.refuse_elsewhere(theirs)
                return self._submit_step_by_step(theirs, submissions, ready, self._rings_beside)[0]
        except StorageUnavailable as error:
            if is_lost_race(error):
                return self._earlier_jobs(submissions, ready)
            if is_read_only(error):
                raise ConfigurationError(
                    "The transaction on the connection= that you passed is read-only, so it takes no job; "
                    "pass one that may write, or leave connection= out."
                ) from error.__cause__
            raise

    def _rings_beside(self, theirs: Connection, organizations: Collection[str]) -> dict[str, Ring]:
        """Return the present keys, read on a second connection: the caller's snapshot may be older than the first key.

        SQLite needs no second connection: a transaction with such a snapshot can't write there.
        """
        if self._database.kind.writers_are_serial:
            return self._keyring.rings(theirs, organizations)
        return aside(lambda: self._keyring.rings_of(self._database, organizations))

    def _earlier_jobs(self, submissions: Sequence[Submission], ready: Ready) -> list[Job]:
        """Return the jobs that have taken the dedup keys; the caller's snapshot may hide them at repeatable read.

        Raises:
            DuplicateJob, StorageUnavailable: as `admission.earlier_jobs` says.
        """

        def look(ours: Connection) -> list[Job]:
            drafts = self._drafts(ours, submissions, ready)
            found = admission.earlier_jobs(ours, self._database.clock.now(ours), drafts)
            return self._jobs_of(ours, drafts, Submitted(found, [], [None] * len(found)))

        return self._database.read(look, of=_organizations(submissions))

    def register_types(self, needed: Collection[str] = (), *, anew: bool = False) -> None:
        """Write this process's job types to the database, if any are new.

        Args:
            needed: the types to submit. Other types are skipped if another session holds their rows.
            anew: register all types, also those that are registered, which takes the operator's role.

        Raises:
            StorageUnavailable, ConfigurationError: the next call writes them.
        """
        names = sorted(self._catalogue.mine) if anew else self._catalogue.news(needed)
        if not names:
            return
        try:
            held = self._catalogue.register(self._database, names, anew=anew)
        except CommitUnanswered as error:
            # It does no harm to write them twice. `CommitUnanswered` would name a job, and no job was sent yet.
            raise StorageUnavailable(_UNREGISTERED) from error
        if missing := [name for name in held if anew or name in needed]:
            raise held_types(missing)

    def _ask_host(self, submissions: Sequence[Submission]) -> Answers | None:
        if isinstance(self._directory, StoredDirectory):
            return None
        return aside(lambda: self._asked_of_host(_organizations(submissions), _pairs(submissions)))

    def _asked_of_host(self, organizations: Collection[str], pairs: Collection[tuple[str, str]]) -> Answers:
        members = dict(self._directory.members(pairs))
        if of_platform := {pair for pair in pairs if pair[0] == PLATFORM}:
            members |= self._database.look(lambda ours: memberships(ours, of_platform), of=PLATFORM)
        return Answers(self._directory.organizations(organizations), members, of_host=True)

    def _submit_step_by_step(
        self,
        connection: Connection,
        submissions: Sequence[Submission],
        ready: Ready,
        look: Look | None = None,
    ) -> tuple[list[Job], list[Live]]:
        drafts = self._drafts(connection, submissions, ready, look)
        submitted = insert(connection, self._database.clock, drafts)
        return self._jobs_of(connection, drafts, submitted), submitted.live

    def warn(self, organizations: Sequence[Live]) -> None:
        """Emit a warning once when an organization's live jobs pass 80 % of its limit (R4)."""
        for one in organizations:
            if one.before < _NEARLY_FULL * one.limit <= one.after:
                self._emit(QueueLimitWarning(one.organization, one.after, one.limit))

    def _drafts(
        self, connection: Connection, submissions: Sequence[Submission], ready: Ready, look: Look | None = None
    ) -> list[Draft]:
        answers = ready.answers or Answers.asked(connection, _organizations(submissions), _pairs(submissions))
        with at() as position:
            for position.index, submission in enumerate(submissions):
                answers.check_organization(submission.organization)
        found = self._types(connection, submissions)
        drafting, drafts = Drafting(answers), []
        with at() as position:
            for position.index, (submission, payload) in enumerate(zip(submissions, ready.payloads, strict=True)):
                drafts.append(drafting.draft(submission, found[submission.job_type], payload))
        rings = (look or self._keyring.rings)(connection, _organizations(submissions))
        return [sealed(one, rings.get(one.organization)) for one in drafts]

    def _types(self, connection: Connection, submissions: Sequence[Submission]) -> dict[str, RegisteredType]:
        try:
            return self._catalogue.find(connection, [one.job_type for one in submissions])
        except (JobTypeDisabled, JobTypeNotFound):
            # Search for the missing type one by one: only an error needs its name.
            for index, one in enumerate(submissions):
                with at(index):
                    self._catalogue.find(connection, [one.job_type])
            raise

    def _jobs_of(self, connection: Connection, drafts: Sequence[Draft], submitted: Submitted) -> list[Job]:
        """Return the drafts' jobs; only jobs that differ from the inserted ones are read."""
        found = zip(drafts, submitted.ids, submitted.jobs, strict=True)
        unknown = {(draft.organization, job_id) for draft, job_id, job in found if job is None}
        by_key = self.read_all(connection, unknown)
        return [
            job or by_key[draft.organization, job_id]
            for draft, job_id, job in zip(drafts, submitted.ids, submitted.jobs, strict=True)
        ]

    def read_all(self, connection: Connection, ids: Collection[tuple[str, UUID]]) -> dict[tuple[str, UUID], Job]:
        """Return the jobs of these organizations and ids that exist."""
        found: dict[tuple[str, UUID], Job] = {}
        for organization in sorted({organization for organization, _ in ids}):
            mine = iter(sorted(job_id for owner, job_id in ids if owner == organization))
            while some := list(islice(mine, admission.MOST_IDS)):
                wanted = rows.select_jobs().where(jobs.c.id.in_(some))
                shown = rows.jobs_of(connection, organization, wanted, self._keyring.shown(connection))
                found |= {(organization, job.id): job for job in shown}
        return found


def _is_small(submission: Submission) -> bool:
    """Return True if its parameters are small enough for an event loop."""
    given = submission.parameters
    if type(given) is not dict or len(given) > _FEW or not _SCALARS.issuperset(map(type, given.values())):
        return False
    return sum(len(one) for one in (*given, *given.values()) if isinstance(one, str)) <= _SHORT


class Plain:
    """Submissions that are inserted on the assumption that nothing refuses them."""

    def __init__(self, submissions: Sequence[Submission], ready: Ready, drafting: Drafting, keyring: Keyring) -> None:
        self._given = list(zip(submissions, ready.payloads, strict=True))
        self._types = ready.types
        self._organizations = _organizations(submissions)
        self._drafting = drafting
        self._keyring = keyring
        self._drafts: list[Draft] = []
        self.is_alone = len(submissions) == 1

    def chunks(self) -> Iterator[list[Draft] | None]:
        """Yield the drafts chunk by chunk, as they are stored; None: something refuses them."""
        draft, types = self._drafting.draft, self._types
        # Called when the connection is there: cached keys grow old during the wait.
        # An organization without a cached key is assumed to have none: the statement proves that, too.
        kept = self._keyring.kept(self._organizations)
        try:
            self._drafts = [draft(one, types[one.job_type], payload) for one, payload in self._given]
            stored = [sealed(one, kept.get(one.organization)) for one in self._drafts]
        except FairlaneError:
            stored = []  # If there are several errors, `_submit_step_by_step` knows which comes first.
        if not stored or not all(map(new_jobs.is_plain, stored)):
            yield None
            return
        stored.sort(key=new_jobs.place)
        for start in range(0, len(stored), CHUNK):
            yield stored[start : start + CHUNK]

    def jobs(self, moment: datetime) -> list[Job]:
        """Return the jobs that were inserted at this moment."""
        return [new_jobs.new_job(draft, moment, JobStatus.QUEUED, run_at=moment) for draft in self._drafts]


def _organizations(submissions: Sequence[Job | Submission]) -> Collection[str]:
    return {one.organization for one in submissions}


def _pairs(submissions: Sequence[Submission]) -> Collection[tuple[str, str]]:
    return {(one.organization, one.user) for one in submissions if one.user is not None}
