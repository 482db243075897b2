"""Functions of the store that run all day, each with the indexes that its statements are to use."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.backoff import Backoff
from fairlane.domain.breaker import Pair
from fairlane.domain.errors import JobNotFound
from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.jobs import JobState
from fairlane.domain.limits import Subject
from fairlane.domain.log_cursor import Position
from fairlane.domain.outcomes import Completed, ErrorReport, Failed
from fairlane.domain.statuses import LIVE, TERMINAL, JobStatus, ParentPolicy, Resolution, Role
from fairlane.domain.timeline import Cell, Grid
from fairlane.store import dead_letter_alarm
from fairlane.store.clock import DatabaseClock
from fairlane.store.engine import engine_of
from fairlane.store.statements import (
    admission,
    audit,
    breakers,
    bulk_actions,
    cancel,
    claim,
    cleanup,
    dead_letters,
    dependencies,
    doomed_files,
    feed,
    history,
    idempotency,
    job_list,
    job_types,
    lanes,
    limits,
    locks,
    metrics,
    new_jobs,
    outcomes,
    resealing,
    revival,
    running_limits,
    schedules,
    stage,
    timeline,
    workers,
)
from fairlane.store.statements.claim import Wanted
from fairlane.store.statements.dead_letters import WantedDeadLetters
from fairlane.store.statements.drafts import Draft, Kind
from fairlane.store.statements.feed import Audience
from fairlane.store.statements.finish import Finish, finish
from fairlane.store.statements.lanes import Mark
from fairlane.store.statements.rows import WITHOUT_KEYS, get
from fairlane.store.statements.workers import LostWorker, WorkerCard, rescue_worker
from fairlane.store.tables import execution_log

START = datetime(2026, 11, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)
BEFORE = START - timedelta(days=1)
WORKER = UUID(int=1)
CLOCK = DatabaseClock()
RUNNING = UUID(int=300_001)
QUEUES = ("default", "mail")
LANES = [Lane("default", "big", f"type{n}") for n in range(5)] + [
    Lane("default", f"small{n}", "type0") for n in range(100)
]
WANTED = Wanted(LANES, {}, {lane.organization: Quota(10, 0) for lane in LANES})
WITH_OLDEST = Wanted(LANES, {LANES[0]: 3}, {lane.organization: Quota(10, 1) for lane in LANES})
WITH_MARKS = Wanted(
    LANES, {}, WITH_OLDEST.quotas, {lane: Mark(2, START.isoformat(), str(UUID(int=1))) for lane in LANES}
)


@dataclass(frozen=True, slots=True)
class Case:
    """A function of the store and indexes that its statements use; fewer on SQLite, where empty tables end it early."""

    work: Callable[[Connection], object]
    indexes: tuple[str, ...]
    sqlite_indexes: tuple[str, ...] | None = None
    read_whole: str = ""  # a table of which a hundred rows are wanted, while it is small enough to read them all


# What goes on all day: it must go well before statistics are gathered, too.
HOT = (
    *("active lanes", "active lanes of queues", "claim", "claim with the oldest", "claim behind marks", "what runs"),
    *("claim that stands alone", "lanes and how their organizations stand"),
    *("scheduled jobs", "due retries", "what there is to stage", "new edges", "children", "a worker's jobs"),
    *("a lost worker's jobs", "workers whose rows are gone", "a rescue", "lock of a job", "a cancel"),
    *("lock of many jobs", "lock of many free jobs", "find of many jobs"),
    *("finish", "completing many", "failing many for good", "failing many for now", "a plain submission", "live jobs"),
    *("a job", "scheduled jobs by turns", "due retries by turns", "a start within a window"),
)
# Looks for jobs. Of those that wait for a retry any of three indexes has no more than these.
LOOKS = (
    *("jobs of an organization", "jobs of a status", "oldest jobs of a status", "jobs of many statuses"),
    *("jobs of a type", "jobs of a user", "jobs of a queue", "jobs with a label"),
    *("count of a type's jobs of a status", "count of a rare user's jobs of a status", "words in jobs"),
    *("count of words by status", "count with a common label", "jobs to retry"),
)
TABLES = (
    "fairlane_organizations",
    "fairlane_jobs",
    "fairlane_live",
    "fairlane_ended",
    "fairlane_job_parents",
    "fairlane_doomed_files",
    "fairlane_execution_log",
    "fairlane_outcomes",
    "fairlane_breakers",
    "fairlane_quotas",
    "fairlane_starts",
    "fairlane_dead_letters",
    "fairlane_labels",
    "fairlane_audit",
    "fairlane_schedules",
    "fairlane_bulk_actions",
)
PAIRS = [Pair("small1", "type0"), Pair("small2", "type0")]
SUBJECTS = [Subject(None, "type0"), Subject("big", None), Subject("big", "type0")]
MANY_SUBJECTS = [Subject(f"small{n}", "type0") for n in range(10_000)]
GRID = Grid(START + timedelta(seconds=500_000), timedelta(minutes=1), 60)
LAST_HOUR = GRID._replace(start=LATER - timedelta(hours=1))
CELLS = [Cell("big", "type1", place) for place in range(60)]
HUNDRED = [UUID(int=number) for number in range(400_001, 400_101)]
ENDED_AND_LIVE = [*HUNDRED, *(UUID(int=number) for number in range(500_001, 500_101))]
WINDOWS = {SUBJECTS[0]: 60.0, SUBJECTS[2]: 3600.0}
FINISH = Finish("small1", RUNNING, "type0", RUNNING, Completed("1"), Backoff())
BROKEN = Failed(ErrorReport("PrinterError", "no paper", permanent=True))
PASSING = Failed(ErrorReport("PrinterError", "no paper"))
FAILURES = [
    FINISH._replace(organization=f"small{n % 100}", job_id=UUID(int=300_000 + n), lease_token=UUID(int=300_000 + n))
    for n in range(1, 301)
]


def letters(
    connection: Connection, fingerprint: str | None = None, resolution: Resolution | None = Resolution.PENDING
) -> object:
    """The second page of those that nobody has decided about, or of all."""
    return dead_letters.page(
        connection,
        "big",
        WantedDeadLetters(resolution, fingerprint),
        before=(LATER, UUID(int=510_000)),
        limit=50,
    )


def missed(connection: Connection) -> object:
    """Return what an organization has missed behind the gaps of a cursor, near the end of the log."""
    position = Position(50_400, ((49_000, 49_500), (50_000, 50_000)))
    return feed.missed(connection, Audience(frozenset({"big"})), position, 50_500, 501)


WATCHED = Audience(jobs=frozenset((f"small{n % 100}", UUID(int=300_000 + n)) for n in range(1, 5_001)))


def place(number: int) -> job_list.Place:
    """Return the place of the job of this number in lists."""
    return job_list.Place(START + timedelta(seconds=number), UUID(int=number))


def page_of(connection: Connection, **wanted: Any) -> None:
    """A page of the list, by jobs of which there are few among many newer ones."""
    job_list.page(connection, "big", job_list.WantedJobs(**wanted), beyond=place(540_000), limit=50)


def count_of(connection: Connection, **wanted: Any) -> None:
    """Count the jobs, up to the cap; planned for its values, like reads."""
    engine_of(connection).plan_for_values(connection)
    job_list.count(connection, "big", job_list.WantedJobs(**wanted), up_to=10_001)


TO_RETRY = job_list.WantedJobs(statuses=frozenset({JobStatus.DEAD_LETTER}), undecided=True)


def to_retry(connection: Connection) -> None:
    """A page of what a retry of many works off."""
    job_list.places(connection, "big", TO_RETRY, before=place(640_000), limit=200)


def to_retry_and_how_many(connection: Connection) -> None:
    """The same, and how many it is said to be; planned as reads have it."""
    engine_of(connection).plan_for_values(connection)
    to_retry(connection)
    job_list.count_by_themselves(connection, "big", TO_RETRY, up_to=10_001)


def beginning_of(connection: Connection) -> None:
    workers.register(connection, CLOCK, WorkerCard(WORKER, "w", None, ("type0",), 10), 60.0)
    assert lanes.begin_claim(connection, CLOCK, WORKER, lease=60.0, suspended=True) is not None


def claim_of(connection: Connection, wanted: Wanted) -> None:
    beginning_of(connection)
    engine_of(connection).claim(connection, LATER, wanted, worker_id=WORKER, worker="w")


def lanes_of(connection: Connection) -> None:
    beginning_of(connection)  # which makes a scan look expensive, as the session on a worker's loop does
    connection.execute(lanes.active(engine_of(connection), is_named=False))


def claim_alone(connection: Connection, wanted: Wanted) -> None:
    """Claim like a worker's loop. SQLite has no such statement."""
    beginning_of(connection)
    if not engine_of(connection).writers_are_serial:
        statement, values = claim.alone(engine_of(connection), wanted, worker_id=WORKER, worker="w", are_ours=True)
        connection.execute(statement, {**values, "now": LATER, "lease_now": 0.0})


def submission_of(connection: Connection) -> None:
    """A plain one, of a member; there is no such job type, so nothing is inserted. SQLite has no such statement."""
    if engine_of(connection).writers_are_serial:
        return
    kind = Kind(
        *("small1", "type1", "ana", "default", 2, ParentPolicy.DEAD_LETTER, None, 0.0, None, None, None),
        *(0.0, "reject", None, None, True, None, tuple(Role)),
    )
    drafts = [Draft(UUID(int=1), kind, "{}", {}, "{}", (), (), None)]
    values = new_jobs.values_at_once(drafts, None, 1.0)
    connection.exec_driver_sql(new_jobs.statement_at_once(), values)


def rescue_of(connection: Connection) -> None:
    """Rescue all that a worker held."""
    held = workers.running_jobs(connection, WORKER, 500)
    rescue_worker(connection, CLOCK, Random(1), LostWorker(WORKER, "w"), held)


def finishes_of(connection: Connection, outcome: Failed) -> None:
    """Finish many attempts that failed so."""
    finish(connection, LATER, [one._replace(outcome=outcome) for one in FAILURES], Random(1))


def cancel_of(connection: Connection) -> None:
    """Cancel a waiting job."""
    with suppress(JobNotFound):
        cancel.cancel(connection, LATER, "big", UUID(int=1), actor="ana", reason="")


CASES = {
    "active lanes": Case(lanes.active_lanes, ("live_ready",)),
    "active lanes of queues": Case(lambda connection: lanes.active_lanes(connection, QUEUES), ("live_ready",)),
    "lanes and how their organizations stand": Case(lanes_of, ("live_ready",)),
    "claim": Case(
        lambda connection: claim_of(connection, WANTED),
        ("live_ready", "jobs_pk"),
        sqlite_indexes=("live_ready",),
    ),
    "claim with the oldest": Case(
        lambda connection: claim_of(connection, WITH_OLDEST),
        ("live_ready", "jobs_pk"),
        sqlite_indexes=("live_ready",),
    ),
    "claim behind marks": Case(
        lambda connection: claim_of(connection, WITH_MARKS),
        ("live_ready", "jobs_pk"),
        sqlite_indexes=("live_ready",),
    ),
    "claim that stands alone": Case(
        lambda connection: claim_alone(connection, WANTED),
        ("live_ready", "jobs_pk"),
        sqlite_indexes=("live_running",),
    ),
    "the beginning of a claim": Case(beginning_of, ("organizations_suspended", "live_running")),
    "what each worker runs": Case(metrics.running_by_worker, ("live_running",)),
    "what runs": Case(lanes.running, ("live_running",)),
    "lock of limits": Case(lambda connection: running_limits.lock(connection, SUBJECTS), ("quotas_pk",), ()),
    "starts within windows": Case(
        lambda connection: running_limits.started(connection, LATER, WINDOWS), ("starts_at",)
    ),
    "starts before windows": Case(
        lambda connection: running_limits.forget_starts(connection, LATER, WINDOWS), ("starts_at",)
    ),
    "a start within a window": Case(
        lambda connection: running_limits.note_starts(connection, LATER, {SUBJECTS[2]: 1}, WINDOWS),
        ("starts_at", "starts_pk"),
        ("starts_at",),
    ),
    "lock of many limits": Case(lambda connection: running_limits.lock(connection, MANY_SUBJECTS), ("quotas_pk",), ()),
    "starts within many windows": Case(
        lambda connection: running_limits.started(connection, LATER, dict.fromkeys(MANY_SUBJECTS, 60.0)),
        ("starts_at",),
    ),
    "oldest ready jobs": Case(lambda connection: lanes.oldest_in_line(connection, LANES), ("live_ready",)),
    # Every live job is counted.
    "live jobs by lane": Case(metrics.live_by_lane, (), (), read_whole="fairlane_live"),
    "scheduled jobs": Case(lambda connection: stage.ready_scheduled(connection, BEFORE), ("live_scheduled",)),
    "due retries": Case(
        lambda connection: stage.ready_retries(connection, START + timedelta(days=63)), ("live_retrying",)
    ),
    "scheduled jobs by turns": Case(
        lambda connection: stage.ready_scheduled(connection, LATER, limit=0), ("live_scheduled_turns",)
    ),
    "due retries by turns": Case(
        lambda connection: stage.ready_retries(connection, LATER, limit=0), ("live_retrying_turns",)
    ),
    "a worker's jobs": Case(lambda connection: workers.held_by(connection, WORKER), ("live_running",)),
    "a lost worker's jobs": Case(lambda connection: workers.running_jobs(connection, WORKER, 500), ("live_running",)),
    "workers whose rows are gone": Case(workers.missing, ("live_running",)),
    "removing a worker": Case(lambda connection: workers.remove(connection, WORKER), ("live_running",)),
    "submission rate": Case(
        lambda connection: limits.nth_newest_submission(connection, "big", "user1", "type1", nth=10, since=START),
        ("submissions_by",),
    ),
    "the system's submission rate": Case(
        lambda connection: limits.nth_newest_submission(connection, "big", None, "type1", nth=10, since=START),
        ("submissions_by",),
    ),
    "submissions that are old": Case(
        lambda connection: limits.forget_submissions(connection, LATER, 100), ("submissions_at",), ("submissions",)
    ),
    "idempotency keys that are old": Case(
        lambda connection: idempotency.forget(connection, LATER, 100), ("idempotency_keys_created",)
    ),
    "live jobs": Case(lambda connection: limits.live_jobs(connection, "big", up_to=1000), ("live_",), ()),
    "lock of a job": Case(
        lambda connection: locks.lock_job(connection, "big", UUID(int=1)), ("live_pk", "jobs_pk"), ()
    ),
    "lock of many jobs": Case(
        lambda connection: locks.lock(connection, "big", ENDED_AND_LIVE), ("live_pk", "ended_pk", "jobs_pk"), ()
    ),
    "lock of many free jobs": Case(
        lambda connection: locks.lock(connection, "big", ENDED_AND_LIVE, skip_locked=True),
        ("live_pk", "ended_pk", "jobs_pk"),
        (),
    ),
    "find of many jobs": Case(
        lambda connection: list(admission.find_jobs(connection, "big", HUNDRED, hold=True)),
        ("live_pk", "ended_pk", "jobs_pk"),
        (),
    ),
    "finish": Case(lambda connection: finish(connection, LATER, [FINISH], Random(1)), ("job_parents_parent",), ()),
    "completing many": Case(
        lambda connection: finish(connection, LATER, [FINISH._replace(has_checkpoint=False)], Random(1)),
        ("live_pk",),
        (),
    ),
    "failing many for good": Case(
        lambda connection: finishes_of(connection, BROKEN),
        ("live_pk", "jobs_pk", "job_parents_parent"),
        (),
        read_whole="fairlane_organizations",
    ),
    "failing many for now": Case(
        lambda connection: finishes_of(connection, PASSING),
        ("live_pk", "jobs_pk"),
        (),
        read_whole="fairlane_organizations",
    ),
    "a plain submission": Case(submission_of, ("organizations_pk",), ()),
    "a rescue": Case(
        rescue_of, ("live_running", "live_pk", "jobs_pk"), ("live_running",), read_whole="fairlane_organizations"
    ),
    "a cancel": Case(
        cancel_of,
        ("live_pk", "jobs_pk", "job_parents_parent"),
        (),
    ),
    "what there is to stage": Case(
        lambda connection: stage.look(connection, CLOCK, ""),
        ("live_scheduled", "live_retrying", "job_parents_new", "revivals_pk"),
        ("live_scheduled", "live_retrying", "job_parents_new"),
    ),
    "children": Case(
        lambda connection: dependencies.settle(
            connection, LATER, [JobState("big", UUID(int=1), "type1", JobStatus.COMPLETED)]
        ),
        ("job_parents_parent",),
    ),
    "children of a job": Case(
        lambda connection: dependencies.count_children(connection, "big", UUID(int=1), up_to=5_001),
        ("job_parents_parent",),
    ),
    "dead letters to revive": Case(
        lambda connection: revival.revive_children(connection, LATER, "big", {UUID(int=1): "ana"}),
        ("dead_letters_cause",),
    ),
    "more dead letters to revive": Case(
        lambda connection: revival.go_on(connection, LATER, "big", None), ("revivals_pk",), ()
    ),
    "jobs of a type that has none": Case(
        lambda connection: job_types.is_referenced(connection, "fax"), ("jobs_type", "jobs_"), ("jobs_",)
    ),
    "shelves of ended jobs": Case(
        lambda connection: cleanup.shelves(connection, Pair("", ""), 1000), ("ended_finished",)
    ),
    "old jobs of a shelf": Case(
        lambda connection: cleanup.ended_before(
            connection, Pair("big", "type1"), LATER + timedelta(days=9), (LATER, UUID(int=1)), 200
        ),
        ("ended_finished",),
    ),
    "old jobs that may go": Case(
        lambda connection: cleanup.lock_expired(
            connection, "big", [UUID(int=number) for number in range(500_001, 500_201)], LATER + timedelta(days=9)
        ),
        ("ended_pk", "jobs_pk", "job_parents_parent"),
        ("job_parents_parent",),
    ),
    "too much for one transaction": Case(
        lambda connection: cleanup._first_beyond(
            connection, "big", [UUID(int=number) for number in range(500_001, 500_201)]
        ),
        ("execution_log_job", "job_parents_pk", "job_parents_parent"),
        ("log_lines_job", "execution_log_job", "job_parents_parent"),
    ),
    "the oldest of a long log": Case(
        lambda connection: cleanup._thin_out(connection, "big", execution_log.c.job_id, UUID(int=500_001)),
        ("execution_log_job",),
    ),
    "files to delete": Case(
        lambda connection: doomed_files.take_due(connection, START + timedelta(seconds=500_100), 200),
        ("doomed_files_due", "live_pk"),
        ("doomed_files_due",),
    ),
    "open breakers": Case(breakers.open_breakers, ("breakers_open",)),
    "breakers that let a job be tried": Case(
        lambda connection: breakers.lock_due(connection, LATER, PAIRS), ("breakers_",), ()
    ),
    "last breakers": Case(lambda connection: breakers.latest(connection, PAIRS), ("breakers_pk",), ()),
    "trials that have ended": Case(
        breakers.ended_trials,
        ("breakers_open", "live_pk", "execution_log_job", "attempt_errors_pk"),
        ("breakers_open", "execution_log_job"),
    ),
    "what counts towards a breaker": Case(
        lambda connection: outcomes.since(connection, LATER - timedelta(minutes=30), PAIRS), ("outcomes_pk",), ()
    ),
    "counts that are old": Case(lambda connection: outcomes.forget(connection, LATER), ("outcomes_minute",)),
    "depths of dead letters": Case(
        lambda connection: dead_letter_alarm.depths(connection, ["big", *(f"small{n}" for n in range(100))], up_to=50),
        ("dead_letters_",),
    ),
    "dead letters of all by error": Case(
        lambda connection: dead_letters.undecided_groups(
            connection, before=(LATER, UUID(int=510_000)), limit=51, up_to=10_001, most=1000
        ),
        ("dead_letters_group",),
    ),
    "newest dead letters": Case(letters, ("dead_letters_newest",)),
    "newest dead letters, whatever was decided": Case(partial(letters, resolution=None), ("dead_letters_newest",)),
    "newest dead letters of one error": Case(
        lambda connection: letters(connection, fingerprint="frequent"), ("dead_letters_group",)
    ),
    "jobs of an organization": Case(page_of, ("jobs_created",)),
    "jobs of a status": Case(partial(page_of, statuses=frozenset({JobStatus.PENDING})), ("live_status",)),
    "jobs by the end of an id": Case(partial(page_of, id_end="0007a120", words_from=place(500_000)), ("jobs_created",)),
    "jobs from before a key": Case(
        lambda connection: resealing.is_left_open(connection, "big", LATER), ("jobs_created",)
    ),
    "whether an id ends so": Case(
        lambda connection: job_list.has_id_end(connection, "big", "0007a120", place(530_000)), ("jobs_",), ()
    ),
    "jobs that died of one error": Case(
        lambda connection: job_list.places(
            connection,
            "big",
            job_list.WantedJobs(statuses=frozenset({JobStatus.DEAD_LETTER}), fingerprint="frequent"),
            before=place(540_000),
            limit=200,
        ),
        ("ended_status", "dead_letters_"),
        ("dead_letters_group",),
    ),
    "jobs to retry": Case(to_retry, ("ended_status", "dead_letters_"), ("dead_letters_group",)),
    "jobs that wait for a retry": Case(partial(page_of, retry_after=START), ("live_retrying_of",)),
    "count of what waits for a retry": Case(
        partial(count_of, retry_after=START), ("live_retrying",), ("live_retrying_turns",)
    ),
    "oldest jobs of a status": Case(
        lambda connection: job_list.page(
            connection,
            "big",
            job_list.WantedJobs(statuses=frozenset({JobStatus.PENDING})),
            beyond=place(400_100),
            limit=50,
            oldest_first=True,
        ),
        ("live_status",),
    ),
    "jobs of a type": Case(partial(page_of, job_type="fax"), ("jobs_type",)),
    "jobs with a label": Case(partial(page_of, labels=(("doc", "42"),)), ("labels_", "jobs_"), ()),
    "jobs of a user": Case(partial(page_of, user="guest"), ("jobs_user",)),
    "jobs of a queue": Case(partial(page_of, queue="bulk"), ("jobs_queue",)),
    "count of a type's jobs of a status": Case(
        partial(count_of, job_type="type1", statuses=frozenset({JobStatus.PENDING})), ("live_status",)
    ),
    "count of a rare user's jobs of a status": Case(
        partial(count_of, user="guest", statuses=frozenset({JobStatus.COMPLETED}), are_few=True),
        ("jobs_user", "ended_pk"),
        ("jobs_user",),
    ),
    "completed jobs of a user": Case(
        partial(page_of, user="guest", statuses=frozenset({JobStatus.COMPLETED})),
        ("jobs_user", "ended_pk"),
        ("jobs_user",),
    ),
    "completed jobs of a frequent type": Case(
        partial(page_of, job_type="type1", statuses=frozenset({JobStatus.COMPLETED})),
        ("jobs_type", "ended_pk"),
        ("jobs_type",),
    ),
    "count of a user's completed jobs": Case(
        partial(count_of, user="user1", statuses=frozenset({JobStatus.COMPLETED})),
        ("jobs_user", "ended_pk"),
        ("jobs_user",),
    ),
    "jobs of many statuses": Case(
        partial(page_of, statuses=LIVE | TERMINAL), ("live_status", "ended_status"), ("live_status", "ended_status")
    ),
    "words in jobs": Case(partial(page_of, words="type1", words_from=place(540_000)), ("live_status", "ended_status")),
    "count of words by status": Case(
        lambda connection: job_list.count_by_status(
            connection, "big", job_list.WantedJobs(words="type1", words_from=place(540_000)), up_to=10_001
        ),
        ("live_status", "ended_status"),
    ),
    "count with a common label": Case(
        partial(
            count_of,
            statuses=frozenset({JobStatus.PENDING}),
            labels=(("doc", "42"),),
            common=frozenset({("doc", "42")}),
        ),
        ("live_status", "labels_"),
        ("live_status",),
    ),
    "count of words among jobs with a common label": Case(
        partial(
            count_of,
            words="type1",
            words_from=place(540_000),
            labels=(("team", "all"),),
            common=frozenset({("team", "all")}),
        ),
        ("labels_",),
        (),
    ),
    "jobs of a time": Case(partial(page_of, created_after=START + timedelta(seconds=539_990)), ("jobs_created",)),
    "jobs whose ids begin so": Case(
        partial(page_of, ids=(UUID(int=530_000), UUID(int=530_007))), ("jobs_",), ("jobs_created",)
    ),
    "a job": Case(lambda connection: get(connection, "big", UUID(int=1), WITHOUT_KEYS), ("jobs_",), ()),
    "ids of a status": Case(
        lambda connection: job_list.places(
            connection,
            "big",
            job_list.WantedJobs(statuses=frozenset({JobStatus.PENDING})),
            before=place(540_000),
            limit=200,
        ),
        ("live_status",),
    ),
    "edges at some jobs": Case(
        lambda connection: dependencies.edges_at(connection, "big", HUNDRED, limit=5000),
        ("job_parents_pk", "job_parents_parent"),
        ("job_parents_parent",),
    ),
    "nodes of a graph": Case(lambda connection: dependencies.jobs_of_graph(connection, "big", HUNDRED), ("jobs_",), ()),
    "ends by type and step": Case(lambda connection: timeline.ends(connection, "small1", GRID), ("outcomes_",), ()),
    "ends of all by step": Case(lambda connection: timeline.ends_of_all(connection, LAST_HOUR), ("outcomes_minute",)),
    "ends of all by type": Case(
        lambda connection: timeline.ends_by_type(connection, None, LAST_HOUR), ("outcomes_",), ()
    ),
    "the busiest types of all by step": Case(
        lambda connection: timeline.ends(connection, None, LAST_HOUR, most=500), ("outcomes_",), ()
    ),
    "ends by type": Case(lambda connection: timeline.ends_by_type(connection, "small1", GRID), ("outcomes_",), ()),
    "submissions by step": Case(
        lambda connection: timeline.submitted(connection, "big", GRID, up_to=10_001), ("jobs_created",)
    ),
    "a sample of what ended": Case(
        lambda connection: timeline.sample(connection, GRID, CELLS, each=50), ("ended_finished",)
    ),
    "starts of what runs": Case(lambda connection: timeline.running_since(connection, "small1"), ("live_status",)),
    # SQLite, without statistics, goes through the day that is kept.
    "whose attempts took most time": Case(
        lambda connection: outcomes.busiest(connection, LATER - timedelta(hours=1), limit=20), ("outcomes_minute",), ()
    ),
    "of how many attempts ended": Case(
        lambda connection: outcomes.number_of_organizations(connection, LATER - timedelta(hours=1)),
        ("outcomes_",),
        (),
    ),
    "time by minute": Case(
        lambda connection: outcomes.by_minute(connection, LATER - timedelta(hours=1), ["small1", "small2"]),
        ("outcomes_",),
        (),
    ),
    "what is in line": Case(
        lambda connection: lanes.in_line(connection, LANES, up_to=10_001), ("live_ready",), ("live_ready",)
    ),
    "what was done to one subject": Case(
        lambda connection: audit.page(connection, "big", subject="a job", before=None, limit=100), ("audit_subject",)
    ),
    "quotas that are old": Case(
        lambda connection: limits.forget_unused(connection, LATER + timedelta(days=9), ("", ""), 100),
        ("quotas_pk",),
        (),
    ),
    "when a schedule is due": Case(schedules.next_look, ("schedules_look_at",)),
    "schedules that are due": Case(
        lambda connection: schedules.due(connection, START + timedelta(minutes=1), after="small7"),
        ("schedules_look_at",),
    ),
    "a schedule": Case(lambda connection: schedules.find(connection, "small1", "s1"), ("schedules_name",)),
    "an organization's schedules": Case(lambda connection: schedules.of(connection, "small1"), ("schedules_name",)),
    "bulk actions that go on": Case(bulk_actions.live, ("bulk_actions_live",)),
    "an organization's bulk actions that go on": Case(
        lambda connection: bulk_actions.working(connection, "small7"), ("bulk_actions_live",)
    ),
    "an organization's bulk actions": Case(
        lambda connection: bulk_actions.of(connection, "small1", None, 100), ("bulk_actions_pk",), ()
    ),
    "old bulk actions": Case(
        lambda connection: bulk_actions.forget(connection, START + timedelta(minutes=1), 100), ("bulk_actions_ended",)
    ),
    "which jobs were revived": Case(
        lambda connection: history.revived(connection, "small1", [RUNNING], START), ("execution_log_job",)
    ),
    "watched jobs that run": Case(lambda connection: feed.watched_progress(connection, WATCHED), ("live_",), ()),
    "what happened to watched jobs": Case(
        lambda connection: feed.entries(connection, WATCHED, 50_400, 50_500, (), 500), ("execution_log_pk",), ()
    ),
    "what somebody missed": Case(missed, ("execution_log_pk", "jobs_"), ()),
    "new edges": Case(lambda connection: dependencies.look_at_new_edges(connection, LATER, {}), ("job_parents_new",)),
}
