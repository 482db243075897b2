"""`Reads`: the service through which all interfaces read jobs."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final, Literal, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.arguments import page_size
from fairlane.domain.errors import FairlaneError
from fairlane.domain.explain import Explanation
from fairlane.domain.graph import Edge, Graph, Node, first_failed
from fairlane.domain.jobs import (
    Artifact,
    Job,
    JobOrId,
    LogEntry,
    LogLine,
    Page,
    Result,
    decode_cursor,
    job_id_of,
    job_not_found,
)
from fairlane.domain.limits import Limit, LimitUse, Subject
from fairlane.domain.metrics import Metrics, Overview, QueueView, RunningJob, Stranded, WorkerView
from fairlane.domain.sealing import Field
from fairlane.domain.statuses import JobStatus
from fairlane.domain.texts import require_organization
from fairlane.domain.timeline import require_minutes
from fairlane.encryption.keyring import Keyring
from fairlane.reads import jobs as asked
from fairlane.reads import metrics as numbers
from fairlane.reads.charts import Charts
from fairlane.reads.explain import HostAnswer, explain_job
from fairlane.reads.jobs import Matching
from fairlane.reads.waiting import Waiting, holds_on, uses_of
from fairlane.store.row_security import EVERYONE, Everyone
from fairlane.store.statements import attempts, dependencies, history, lanes, organizations, rows
from fairlane.store.statements import metrics as statements
from fairlane.store.statements.job_list import Place
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory, StoredDirectory
from fairlane.tenancy.tenants import Tenants

T = TypeVar("T")

LARGEST_GRAPH: Final = 500  # jobs; nobody can survey a larger graph
_FARTHEST: Final = 100  # edges from the job
_EDGES: Final = 5000  # read for one level: a parent may have a million children


class Reads:
    """Reads of one database, and of the host's directory, if organizations are kept there.

    The caller has checked that the reader may see the organization.

    Every method raises `StorageUnavailable` if the database does not answer. A method about a job raises `JobNotFound`
    if the organization has no such job: unknown and foreign ids look alike. An id that is neither UUID nor text raises
    `InvalidParameters`. Every read of one organization raises `OrganizationNotFound` if there is no such organization.
    """

    def __init__(self, database: Database, host: Directory | None = None, keyring: Keyring | None = None) -> None:
        self._database = database
        self._host = host
        self._keyring = keyring or Keyring()
        self._tenants = Tenants(database, host or StoredDirectory(database), has_platform=True)
        self.charts = Charts(database, self._tenants)
        self.matching = Matching(database, self._tenants)
        self.waiting = Waiting(database)

    def get(self, job: JobOrId, organization: str, *, with_parameters: bool = True) -> Job:
        """Return a job. Raises `JobNotFound`.

        Args:
            with_parameters: False = the parameters are not read, and the job has none.
        """
        key = job_id_of(job, organization)
        found = self._tenants.read(
            lambda connection: rows.get(
                connection, organization, key, self._keyring.shown(connection), with_parameters=with_parameters
            ),
            of=organization,
        )
        if found is None:
            raise job_not_found(key, organization)
        return found

    def list(  # noqa: PLR0913 - the verbs of the public API take keywords
        self,
        organization: str,
        *,
        status: str | Iterable[str] | None = None,
        job_type: str | None = None,
        user: str | None = None,
        label: tuple[str, str] | Mapping[str, str] | None = None,
        queue: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        waiting_for: Literal["retry"] | None = None,
        text: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
        in_errors: bool = True,
        fingerprint: str | None = None,
        oldest_first: bool = False,
        with_parameters: bool = True,
    ) -> Page[Job]:
        """Return jobs that match all given filters, newest first. The page's `total` counts up to 10,000.

        Args:
            status: one or several. An empty list is refused, because it could mean none or all.
            user: who submitted the job.
            label: a name and its value, or a mapping of several. The job must have them all.
            created_after, created_before: the first moment, included, and the last, excluded; with time zones.
            waiting_for: "retry" = queued jobs whose next attempt is due later. `status`, if given, must include
                "queued".
            text: the beginning of an id, in hex digits. Or, among the newest 10,000 jobs (`searched_newest` says so),
                eight or more digits of the end of an id, or any part of the job type or the error. Case is ignored;
                beyond ASCII only on PostgreSQL, and not in a database of the locale C.
            limit: 1 to 1000.
            cursor: the `next_cursor` of the page before.
            in_errors: whether `text` is searched in errors, too. A reader who may not see errors would learn them by
                searches.
            fingerprint: undecided dead letters with this error.
            oldest_first: oldest first instead of newest first.
            with_parameters: False = the parameters, which may be megabytes for each job, are not read, and the jobs
                have none.

        Raises:
            InvalidParameters: a filter makes no sense; the message says which.
        """
        require_organization(organization)
        limit = page_size(limit)
        beyond = Place(*decode_cursor(cursor)) if cursor is not None else None
        wanted = asked.wanted_of(
            status=status,
            job_type=job_type,
            user=user,
            label=label,
            queue=queue,
            created_after=created_after,
            created_before=created_before,
            waiting_for=waiting_for,
            in_errors=in_errors,
            fingerprint=fingerprint,
        )
        search = asked.search_of(text)
        return self._tenants.read(
            lambda connection: asked.page_of(
                connection,
                organization,
                asked.narrowed(connection, self._database.clock, organization, wanted, search),
                opener=self._keyring.shown(connection),
                beyond=beyond,
                limit=limit,
                oldest_first=oldest_first,
                with_parameters=with_parameters,
            ),
            of=organization,
        )

    def history(self, job: JobOrId, organization: str) -> tuple[LogEntry, ...]:
        """Return the newest 1,000 entries of the execution log, oldest first, with errors of attempts.

        Raises `JobNotFound`.
        """
        return self._of_job(
            job,
            organization,
            lambda connection, organization, key: tuple(
                history.entry_of(row, self._keyring.shown(connection))
                for row in history.entries(connection, organization, key)
            ),
        )

    def last_sequence(self, job: JobOrId, organization: str) -> int:
        """Return how many transitions the job has made. Raises `JobNotFound`."""
        last = self._of_job(job, organization, history.last_entry)
        return int(last.sequence) if last is not None else 0

    def log_lines(self, job: JobOrId, organization: str, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        """Return the lines that the handler wrote with `ctx.log`, oldest first.

        Args:
            after: how many lines the reader has already.
            limit: 1 to 1000.

        Raises:
            JobNotFound, InvalidParameters
        """
        limit = page_size(limit)
        return self._of_job(
            job,
            organization,
            lambda connection, organization, key: tuple(
                history.line_of(row, self._keyring.shown(connection))
                for row in history.lines(connection, organization, key, skip=max(after, 0), limit=limit)
            ),
        )

    def explain(self, job: JobOrId, organization: str, *, with_errors: bool = True) -> Explanation:
        """Say why the job is not running, or how it runs, or how it ended. Raises `JobNotFound`.

        Args:
            with_errors: whether to quote the texts of its handler's errors.
        """
        key = job_id_of(job, organization)
        self._of_job(key, organization, lambda *_: None)
        # Jobs of other organizations count, too: for example where a job type has one limit for all organizations.
        clock, host = self._database.clock, self._ask_host(organization)
        return self._database.read(
            lambda connection: explain_job(
                connection,
                clock,
                organization,
                key,
                host,
                opener=self._keyring.shown(connection),
                with_errors=with_errors,
            ),
            of=EVERYONE,
        )

    def graph(self, job: JobOrId, organization: str) -> Graph:
        """Return the jobs that a job depends on and the jobs that depend on it, nearest first, 500 at most.

        Raises:
            JobNotFound
        """
        return self._of_job(job, organization, _graph_of)

    def result(self, job: JobOrId, organization: str) -> Result:
        """Return the handler's return value (None: nothing, or not yet), and the list of the job's artifacts.

        The caller has checked that the organization is not suspended: a suspension locks results (R5).

        Raises:
            JobNotFound
        """
        return self._of_job(
            job,
            organization,
            lambda connection, organization, key: Result(
                self._keyring.shown(connection).value(
                    organization, key, Field.RESULT, history.result_of(connection, organization, key)
                ),
                _artifacts(connection, organization, key),
            ),
        )

    def artifacts(
        self, job: JobOrId, organization: str, *, names: Iterable[str] | None = None, limit: int | None = None
    ) -> tuple[Artifact, ...]:
        """Return the list of the job's artifacts, without reading its value. The caller checks as for `result`.

        Args:
            names: only artifacts of these names; None = all.
            limit: how many at most, the first by name; None = all.

        Raises:
            JobNotFound
        """
        return self._of_job(job, organization, partial(_artifacts, names=names, limit=limit))

    def metrics(self, organization: str | None = None, *, minutes: int = 60) -> Metrics:
        """Return counts and ages, and the outcomes of the last `minutes`; None = of all organizations, for operators.

        Raises:
            InvalidParameters: `minutes` is not 1 to 1440.
        """
        require_minutes(minutes)
        return self._tenants.read(
            lambda connection: numbers.metrics_of(connection, self._database.clock, organization, minutes),
            of=_scope(organization),
        )

    def by_status(self, organization: str | None = None) -> Mapping[JobStatus, int]:
        """Count the jobs in each status; None = of all organizations, for operators."""
        return self._tenants.read(lambda c: numbers.by_status(c, organization), of=_scope(organization))

    def live_jobs(self) -> numbers.LiveJobs:
        """Count live jobs of all organizations by lane. For operators."""
        return self._database.read(numbers.live_jobs, of=EVERYONE)

    def ages(self) -> Mapping[str, float]:
        """Return by queue how long its oldest ready job could have started, in seconds. For operators.

        The cost depends on the number of lanes, not on that of jobs.
        """
        return self._database.read(lambda c: numbers.ages(c, self._database.clock, lanes.active_lanes(c)), of=EVERYONE)

    def workers(self, *, lost: bool = False) -> tuple[WorkerView, ...]:
        """Return live workers by name; also `lost` workers, until their jobs were rescued. For operators."""
        return self._database.read(lambda c: numbers.workers_of(c, self._database.clock, lost=lost), of=EVERYONE)

    def lacking_keys(self) -> Mapping[str, tuple[str, ...]]:
        """Return organizations whose key a live worker can't use, each with these workers' names. For operators.

        A worker finds out when it claims an encrypted job, and reports it with its next heartbeat.
        """
        return self._database.read(
            lambda connection: numbers.lacking_keys(connection, self._database.clock), of=EVERYONE
        )

    def running(self, organization: str | None = None, limit: int = 1000) -> tuple[RunningJob, ...]:
        """Return running jobs, the longest-running first; None = of all organizations, for operators."""
        return self._tenants.read(
            lambda connection: numbers.running_jobs(connection, organization, limit, self._keyring.shown(connection)),
            of=_scope(organization),
        )

    def queues(
        self, organization: str | None = None, *, after: str | None = None, limit: int | None = None
    ) -> tuple[QueueView, ...]:
        """Return queues with live jobs of the organization, by name; None = of all, and paused queues, for operators.

        While the host's directory does not answer, organizations' own limits are unknown and do not count.

        Args:
            after: only queues whose names come after this one.
            limit: how many at most; None = all. With a limit, limits on running jobs are read for these queues only.
        """
        clock = self._database.clock

        names: list[str] | None = None

        def look(connection: Connection) -> numbers.LiveJobs:
            # In one snapshot: otherwise a queue that empties in between is missing, and its page looks like the last
            # page.
            nonlocal names
            if limit is not None:
                names = statements.queue_names(connection, organization, after, limit)
            return numbers.live_jobs(connection, organization, names)

        live = self._tenants.read(look, of=_scope(organization))
        theirs = self._host_limits({lane.organization for lane in live.ready})

        def read(connection: Connection) -> tuple[QueueView, ...]:
            max_running = organizations.running_limits(connection) if theirs is None else theirs
            running = live.running() if organization is None and names is None else lanes.running(connection)
            held = numbers.held(connection, clock, live, running, max_running)
            ages = numbers.ages(connection, clock, live.ready)
            holds = holds_on(connection, clock, live.lanes(), held.paused, organization)
            return numbers.queue_views(live, held, holds, ages)

        # A limit on a job type counts the running jobs of all organizations.
        views = self._database.read(read, of=EVERYONE)
        mine = {one.queue: one for one in views}
        if organization is not None:
            mine = {queue: mine[queue] for queue in sorted({lane.queue for lane in live.lanes()})}
        return tuple(mine.values() if names is None else (mine[one] for one in names if one in mine))

    def overview(self, limit: int = 1000) -> Overview:
        """Return queues, organizations, at most `limit` running jobs, and workers, from one snapshot. For operators."""
        # Asked before: the host's own database is not part of this transaction.
        theirs = self._host_limits({lane.organization for lane in self.live_jobs().ready}) if self._host else None

        def read(connection: Connection) -> Overview:
            max_running = organizations.running_limits(connection) if theirs is None else theirs
            clock, live = self._database.clock, numbers.live_jobs(connection)
            held = numbers.held(connection, clock, live, live.running(), max_running)
            return Overview(
                queues=numbers.queue_views(
                    live,
                    held,
                    holds_on(connection, clock, live.lanes(), held.paused, None),
                    numbers.ages(connection, clock, live.ready),
                ),
                organizations=numbers.organization_views(connection, clock, live, held),
                jobs=numbers.running_jobs(connection, None, limit, self._keyring.shown(connection)),
                workers=numbers.workers_of(connection, clock),
            )

        return self._database.read(read, of=EVERYONE)

    def limit_uses(self, limits: Mapping[Subject, Limit]) -> dict[Subject, LimitUse]:
        """Return how much of these limits is used now. For operators."""
        clock = self._database.clock
        return self._database.read(
            lambda connection: uses_of(connection, clock, limits, lanes.running(connection)),
            of=EVERYONE,
        )

    def stranded(self) -> tuple[Stranded, ...]:
        """Count queued and pending jobs without a live worker for them, by queue and type. For operators."""
        return self._database.read(
            lambda c: numbers.stranded(numbers.live_jobs(c), numbers.workers_of(c, self._database.clock)), of=EVERYONE
        )

    def _host_limits(self, ids: Collection[str]) -> Mapping[str, int | None] | None:
        """Return the host's limits on running jobs, by organization; None if Fairlane keeps the organizations them."""
        if self._host is None:
            return None
        with suppress(FairlaneError):
            return {name: one.max_running for name, one in self._host.organizations(ids).items()}
        return {}

    def _ask_host(self, organization: str) -> HostAnswer | None:
        if self._host is None:
            return None
        try:
            return HostAnswer(self._host.organizations([organization]).get(organization))
        except FairlaneError:
            return HostAnswer(is_away=True)

    def _of_job(self, job: JobOrId, organization: str, read: Callable[[Connection, str, UUID], T]) -> T:
        """Read something of a job after checking that the organization has the job."""
        key = job_id_of(job, organization)

        def work(connection: Connection) -> tuple[T]:
            if not rows.known(connection, organization, [key]):
                raise job_not_found(key, organization)
            return (read(connection, organization, key),)  # never empty: the job was found

        (found,) = self._tenants.read(work, of=organization)
        return found


def _graph_of(connection: Connection, organization: str, job: UUID) -> Graph:
    """Gather the jobs around a job level by level, so that the cost depends only on what is shown."""
    known, edges = {job: None}, dict[Edge, None]()  # in the order in which they were found
    fresh, is_capped = [job], False
    for _ in range(_FARTHEST):
        found = dependencies.edges_at(connection, organization, fresh, limit=_EDGES + 1)
        is_capped |= len(found) > _EDGES
        edges |= dict.fromkeys(found)
        beyond = [end for edge in found for end in (edge.parent, edge.child) if end not in known]
        fresh = list(dict.fromkeys(beyond))[: LARGEST_GRAPH - len(known)]
        is_capped |= len(set(beyond)) > len(fresh)
        known |= dict.fromkeys(fresh)
        if not fresh:
            break
    else:
        is_capped = True
    rows = {row.id: row for row in dependencies.jobs_of_graph(connection, organization, list(known))}
    nodes = {
        one: Node(
            one, row.job_type, JobStatus(row.status), row.attempt, row.created_at, row.started_at, row.finished_at
        )
        for one in known
        if (row := rows.get(one)) is not None
    }
    between = tuple(edge for edge in edges if edge.parent in nodes and edge.child in nodes)
    return Graph(job, tuple(nodes.values()), between, first_failed(job, nodes, between), is_capped)


def _artifacts(
    connection: Connection,
    organization: str,
    job_id: UUID,
    names: Iterable[str] | None = None,
    limit: int | None = None,
) -> tuple[Artifact, ...]:
    rows = attempts.artifacts_of(connection, organization, [job_id], names, limit=limit)
    return tuple(map(attempts.artifact_of, rows))


def _scope(organization: str | None) -> str | Everyone:
    return organization if organization is not None else EVERYONE
