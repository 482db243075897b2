"""The statements that run all day read by an index, however long the backlog.

PostgreSQL holds what skews its statistics: one organization with nearly all of the jobs, a hundred with a few, and many
future retries. Each statement is planned for its parameters and, as a prepared one may be, for any parameters.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Connection

from fairlane.domain.backoff import Backoff
from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.limits import Subject
from fairlane.domain.outcomes import Completed, ErrorReport, Failed
from fairlane.domain.statuses import JobStatus, Resolution
from fairlane.domain.tail import Position
from fairlane.domain.timeline import Cell, Grid
from fairlane.store import burials
from fairlane.store.clock import DatabaseClock
from fairlane.store.planning import plan_for_values
from fairlane.store.statements import (
    audit,
    breakers,
    bulk_actions,
    claim,
    claim_round,
    cleanup,
    dead_letter_groups,
    dead_letters,
    dependencies,
    doomed_files,
    feed,
    graph,
    history,
    job_list,
    job_types,
    lanes,
    limits,
    metrics,
    outcomes,
    running_limits,
    schedules,
    sealed_texts,
    shares,
    stage,
    timeline,
    transition,
    workers,
)
from fairlane.store.statements.claim import Wanted
from fairlane.store.statements.cleanup import Shelf
from fairlane.store.statements.dead_letters import Letters
from fairlane.store.statements.feed import Audience
from fairlane.store.statements.finish import Finish, finish
from fairlane.store.statements.lanes import Rung
from fairlane.store.statements.transition import Ended
from fairlane.store.statements.workers import WorkerCard
from fairlane.store.transaction import Database
from tests.conftest import create_database, database_on, drop_database
from tests.store.plans import plans, scans

START = datetime(2026, 11, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)
BEFORE = START - timedelta(days=1)
WORKER = UUID(int=1)
CLOCK = DatabaseClock()
RUNNING = UUID(int=300_001)
LANES = [Lane("default", "big", f"type{n}") for n in range(5)] + [
    Lane("default", f"small{n}", "type0") for n in range(100)
]
WANTED = Wanted(LANES, {}, {lane.organization: Quota(10, 0) for lane in LANES})
WITH_OLDEST = Wanted(LANES, {LANES[0]: 3}, {lane.organization: Quota(10, 1) for lane in LANES})
WITH_RUNGS = Wanted(
    LANES, {}, WITH_OLDEST.quotas, {lane: [Rung(2, START, UUID(int=1)), Rung(3, START, UUID(int=1))] for lane in LANES}
)

# 190,000 ready jobs of one organization and 500 of a hundred others, 50,000 future retries, 500 running, 10,000 waiting
# for their time, 50,000 done. Ids, times and lease tokens are made of the row's number.
FILL = """
INSERT INTO fairlane_jobs
  (organization_id, id, queue, job_type, status, ready, priority, run_at, next_retry_at, parameters, labels,
   submitted_by, attempt, retry_count, rescue_count, on_parent_failure, unmet_parents, log_sequence, worker_id,
   lease_token, created_at, finished_at)
SELECT organization, number_id, 'default', 'type' || n % 5, status, ready, 2, moment,
  CASE WHEN status = 'queued' AND NOT ready THEN moment + interval '60 days' END, '{}', '{}', 'user' || n % 50,
  0, 0, 0, 'dead_letter', 0, 1, CASE status WHEN 'running' THEN lpad(to_hex(n % 5), 32, '0')::uuid END,
  CASE status WHEN 'running' THEN number_id END, moment, CASE status WHEN 'completed' THEN moment END
FROM (
  SELECT n, 'big' AS organization, 'queued' AS status, true AS ready FROM generate_series(1, 190000) AS n
  UNION ALL SELECT n, 'small' || n % 100, 'queued', true FROM generate_series(190001, 190500) AS n
  UNION ALL SELECT n, 'big', 'queued', false FROM generate_series(200001, 250000) AS n
  UNION ALL SELECT n, 'small' || n % 100, 'running', false FROM generate_series(300001, 300500) AS n
  UNION ALL SELECT n, 'big', 'pending', false FROM generate_series(400001, 410000) AS n
  UNION ALL SELECT n, 'big', 'completed', false FROM generate_series(500001, 550000) AS n) AS job,
  LATERAL (SELECT lpad(to_hex(n), 32, '0')::uuid AS number_id,
                  '2026-11-01Z'::timestamptz + n * interval '1 s' AS moment) AS its
"""
# Each waiting job has a parent of its own, and needs it no more.
EDGES = """
INSERT INTO fairlane_job_parents (organization_id, job_id, parent_id, state)
SELECT organization_id, id, lpad(to_hex(row_number() OVER ()), 32, '0')::uuid, 'watched'
FROM fairlane_jobs WHERE status = 'pending'
"""
PROGRESS = """
INSERT INTO fairlane_progress (organization_id, job_id, attempt, sequence, percent, at)
SELECT organization_id, id, attempt, 1, 50, created_at FROM fairlane_jobs WHERE status IN ('running', 'completed')
"""
# Five thousand run, and many that ended have kept their progress.
BUSY = """
INSERT INTO fairlane_jobs
  (organization_id, id, queue, job_type, status, ready, priority, run_at, parameters, labels, attempt, retry_count,
   rescue_count, on_parent_failure, unmet_parents, log_sequence, worker_id, lease_token, created_at)
SELECT 'small1', id, 'default', 'type1', status, false, 2, now(), '{}', '{}', 1, 0, 0, 'dead_letter', 0, 1,
  CASE status WHEN 'running' THEN id END, CASE status WHEN 'running' THEN id END, now()
FROM (SELECT lpad(to_hex(n), 32, '0')::uuid AS id, CASE WHEN n <= 5000 THEN 'running' ELSE 'completed' END AS status
      FROM generate_series(1, 60000) AS n) AS its
"""
# A few files to be deleted, many that are being stored.
FILES = """
INSERT INTO fairlane_doomed_files (organization_id, id, path, job_id, lease_token, since, due_at)
SELECT 'big', id, 'big/' || id, id, id, created_at, created_at FROM fairlane_jobs WHERE status = 'completed'
"""
ORGANIZATIONS = """
INSERT INTO fairlane_organizations (id, name, status, created_at)
SELECT 'small' || n, '', CASE WHEN n % 1000 = 0 THEN 'suspended' ELSE 'active' END, '2026-11-01Z'
FROM generate_series(1, 10000) AS n
"""
# The quota rows of submissions and of claims, and the starts of many claims within the windows of their rates.
QUOTAS = """
INSERT INTO fairlane_quotas (organization_id, subject, uses, used_at)
SELECT 'big', 'rate/type' || n % 5 || '/user' || n, 1, '2026-11-01Z'::timestamptz FROM generate_series(1, 20000) AS n
UNION ALL SELECT organization, subject, 0, '2026-11-01Z'
FROM (VALUES ('big', 'limit'), ('big', 'limit/type0'), ('', 'limit/type0')) AS claims (organization, subject)
"""
SUBMISSIONS = """
INSERT INTO fairlane_submissions (organization_id, job_type, submitted_by, at)
SELECT 'big', 'type' || n % 5, CASE WHEN n % 3 > 0 THEN 'user' || n % 3 ELSE '' END,
  '2026-11-01Z'::timestamptz + n * interval '1 s'
FROM generate_series(1, 20000) AS n
"""
STARTS = """
INSERT INTO fairlane_starts (organization_id, job_type, at, number)
SELECT CASE WHEN n % 2 = 0 THEN 'big' ELSE '' END, 'type' || n % 5, '2026-11-01Z'::timestamptz + n * interval '1 s', 5
FROM generate_series(1, 20000) AS n
"""
LOG = """
INSERT INTO fairlane_execution_log (organization_id, job_id, sequence, to_status, at, actor, message, attempt)
SELECT organization_id, id, 1, status, created_at, 'w', '', 1
FROM fairlane_jobs WHERE status IN ('running', 'completed')
"""
# Most dead letters of an organization are of one error, and nobody has decided about them.
LETTERS = """
INSERT INTO fairlane_dead_letters
  (organization_id, job_id, job_type, reason, error_type, fingerprint, entered_at, resolution)
SELECT organization_id, id, job_type, '', 'E', CASE WHEN n % 20 = 0 THEN 'rare' ELSE 'frequent' END, created_at,
  CASE WHEN n % 10 = 0 THEN 'resolved' ELSE 'pending' END
FROM (SELECT *, row_number() OVER () AS n FROM fairlane_jobs WHERE status = 'completed') AS job
"""
# 40,000 dead letters of one organization; all but a few are decided about, or only a few.
DEAD = """
INSERT INTO fairlane_jobs
  (organization_id, id, queue, job_type, status, ready, priority, run_at, parameters, labels, attempt, retry_count,
   rescue_count, on_parent_failure, unmet_parents, log_sequence, created_at, finished_at)
SELECT 'big', lpad(to_hex(600000 + n), 32, '0')::uuid, 'default', 'type' || n % 5, 'dead_letter', false, 2, moment,
  '{}', '{}', 1, 0, 0, 'dead_letter', 0, 1, moment, moment
FROM (SELECT n, '2026-11-01Z'::timestamptz + n * interval '1 s' AS moment FROM generate_series(1, 40000) AS n) AS its
"""
DECIDED = """
INSERT INTO fairlane_dead_letters
  (organization_id, job_id, job_type, reason, error_type, fingerprint, caused_by, entered_at, resolution)
SELECT organization_id, id, job_type, '', 'E', 'frequent', lpad(to_hex(600001), 32, '0')::uuid, created_at,
  CASE WHEN row_number() OVER () %% 1000 = 0 THEN %(few)s ELSE %(most)s END
FROM fairlane_jobs
"""
# A day of two workers' counts, thousands of breakers that closed again, a few that are open, some with a running trial.
COUNTS = """
INSERT INTO fairlane_outcomes (organization_id, job_type, minute, worker_id, completions, failures, seconds)
SELECT 'small' || n % 20, 'type0', '2026-11-01Z'::timestamptz + n / 20 * interval '1 min',
  lpad(to_hex(worker), 32, '0')::uuid, 1, 1, 1
FROM generate_series(0, 28799) AS n, generate_series(1, 2) AS worker
"""
BREAKERS = """
INSERT INTO fairlane_breakers
  (organization_id, job_type, opened_at, until, trial_job_id, trial_attempt, trial_lease_token, closed_at)
SELECT 'small' || n, 'type0', moment, moment, trial, CASE WHEN trial IS NOT NULL THEN 0 END, trial,
  CASE WHEN n >= 20 THEN moment END
FROM (SELECT n, '2026-11-01Z'::timestamptz + n * interval '1 s' AS moment,
    CASE WHEN n < 10 THEN lpad(to_hex(300001 + n), 32, '0')::uuid END AS trial
  FROM generate_series(0, 9999) AS n) AS breaker
"""
# Few jobs have one, a hundred have each.
LABELS = """
INSERT INTO fairlane_labels (organization_id, job_id, name, value)
SELECT organization_id, id, 'doc', row_number() OVER () / 100 FROM fairlane_jobs WHERE status = 'completed' LIMIT 5000
"""
AUDIT = """
INSERT INTO fairlane_audit (organization_id, id, at, actor, origin, action, subject)
SELECT 'big', gen_random_uuid(), '2026-11-26', 'ana', 'cli', 'jobs.retry', gen_random_uuid()::text
FROM generate_series(1, 5000)
"""
# A few are due, one in ten is paused.
SCHEDULES = """
INSERT INTO fairlane_schedules (organization_id, id, name, job_type, parameters, options, every_seconds, time_zone,
  start, missed, next_tick, look_at, created_at)
SELECT 'small' || n % 100, gen_random_uuid(), 's' || n, 'type' || n % 5, '{}', '{}', 60, 'UTC', '2026-11-01Z', 'one',
  moment, CASE WHEN n % 10 > 0 THEN moment END, '2026-11-01Z'
FROM (SELECT n, '2026-11-01Z'::timestamptz + n * interval '1 s' AS moment FROM generate_series(1, 20000) AS n) AS its
"""
# One in a hundred goes on.
BULK_ACTIONS = """
INSERT INTO fairlane_bulk_actions (organization_id, id, verb, origin, as_operator, wanted, filters, changed,
  passed_over, refused, refusals, failures, look_at, created_at, ended_at)
SELECT 'small' || n % 100, gen_random_uuid(), 'retry', 'library', true, '{}', '{}', 0, 0, 0, '[]', 0,
  CASE WHEN n % 100 = 7 THEN moment END, moment, CASE WHEN n % 100 <> 7 THEN moment END
FROM (SELECT n, '2026-11-01Z'::timestamptz + n * interval '1 s' AS moment FROM generate_series(1, 20000) AS n) AS its
"""
FILLS = (
    *(ORGANIZATIONS, FILL, EDGES, FILES, QUOTAS, SUBMISSIONS, STARTS, LOG, LETTERS, COUNTS, BREAKERS, LABELS, AUDIT),
    PROGRESS,
    SCHEDULES,
    BULK_ACTIONS,
)


@dataclass(frozen=True, slots=True)
class Case:
    """A function of the store and indexes that its statements use; fewer on SQLite, where empty tables end it early."""

    work: Callable[[Connection], object]
    indexes: tuple[str, ...]
    sqlite_indexes: tuple[str, ...] | None = None


TABLES = (
    "fairlane_organizations",
    "fairlane_jobs",
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
WINDOWS = {SUBJECTS[0]: 60.0, SUBJECTS[2]: 3600.0}
FINISH = Finish("small1", RUNNING, "type0", RUNNING, Completed("1"), Backoff())
BROKEN = Failed(ErrorReport("PrinterError", "no paper", permanent=True))
FAILURES = [
    FINISH._replace(organization=f"small{n % 100}", job_id=UUID(int=300_000 + n), lease_token=UUID(int=300_000 + n))
    for n in range(1, 301)
]


def letters(connection: Connection, fingerprint: str | None = None) -> object:
    """The second page of those that nobody has decided about."""
    return dead_letters.page(
        connection,
        "big",
        Letters(Resolution.PENDING, fingerprint),
        before=(LATER, UUID(int=510_000)),
        limit=50,
    )


def missed(connection: Connection) -> object:
    """What an organization has missed behind the gaps of a cursor, near the end of the log."""
    position = Position(50_400, ((49_000, 49_500), (50_000, 50_000)))
    return feed.missed(connection, Audience(frozenset({"big"})), position, 50_500, 501)


WATCHED = Audience(jobs=frozenset((f"small{n % 100}", UUID(int=300_000 + n)) for n in range(1, 5_001)))


def page_of(connection: Connection, **wanted: Any) -> None:
    """A page of the list, by jobs of which there are few among many newer ones."""
    job_list.page(connection, "big", job_list.Wanted(**wanted), beyond=UUID(int=540_000), limit=50)


def count_of(connection: Connection, **wanted: Any) -> None:
    """How many there are, to the cap; planned for its values, as reads have it."""
    plan_for_values(connection)
    job_list.count(connection, "big", job_list.Wanted(**wanted), up_to=10_001)


TO_RETRY = job_list.Wanted(statuses=frozenset({JobStatus.DEAD_LETTER}), undecided=True)


def to_retry(connection: Connection) -> None:
    """A page of what a retry of many works off."""
    job_list.ids(connection, "big", TO_RETRY, before=UUID(int=640_000), limit=200)


def to_retry_and_how_many(connection: Connection) -> None:
    """The same, and how many it is said to be; planned as reads have it."""
    plan_for_values(connection)
    to_retry(connection)
    job_list.count_by_themselves(connection, "big", TO_RETRY, up_to=10_001)


def beginning_of(connection: Connection) -> None:
    workers.register(connection, CLOCK, WorkerCard(WORKER, "w", None, ("type0",), 10), 60.0)
    assert claim_round.begin(connection, CLOCK, WORKER, suspended=True) is not None


def claim_of(connection: Connection, wanted: Wanted) -> None:
    claim_round.begin(connection, CLOCK, WORKER, suspended=False)
    claim.claim(connection, LATER, wanted, worker_id=WORKER, worker="w")


CASES = {
    "active lanes": Case(lanes.active_lanes, ("jobs_ready",)),
    "claim": Case(
        lambda connection: claim_of(connection, WANTED),
        ("jobs_ready", "jobs_id"),
        sqlite_indexes=("jobs_ready",),
    ),
    "claim with the oldest": Case(
        lambda connection: claim_of(connection, WITH_OLDEST),
        ("jobs_ready", "jobs_id"),
        sqlite_indexes=("jobs_ready",),
    ),
    "claim of rungs": Case(
        lambda connection: claim_of(connection, WITH_RUNGS),
        ("jobs_ready", "jobs_id"),
        sqlite_indexes=("jobs_ready",),
    ),
    "the beginning of a claim": Case(beginning_of, ("organizations_suspended", "jobs_running")),
    "what each worker runs": Case(metrics.running_by_worker, ("jobs_running",)),
    "what runs": Case(lanes.running, ("jobs_running",)),
    "lock of limits": Case(lambda connection: running_limits.lock(connection, SUBJECTS), ("quotas_pk",), ()),
    "starts within windows": Case(
        lambda connection: running_limits.started(connection, LATER, WINDOWS), ("starts_at",)
    ),
    "starts before windows": Case(
        lambda connection: running_limits.forget_starts(connection, LATER, WINDOWS), ("starts_at",)
    ),
    "lock of many limits": Case(lambda connection: running_limits.lock(connection, MANY_SUBJECTS), ("quotas_pk",), ()),
    "starts within many windows": Case(
        lambda connection: running_limits.started(connection, LATER, dict.fromkeys(MANY_SUBJECTS, 60.0)),
        ("starts_at",),
    ),
    "live jobs by lane": Case(metrics.live_by_lane, ("jobs_status",), ("jobs_status",)),
    "scheduled jobs": Case(lambda connection: stage.release_scheduled(connection, BEFORE), ("jobs_scheduled",)),
    "due retries": Case(
        lambda connection: stage.ready_retries(connection, START + timedelta(days=63)), ("jobs_retrying",)
    ),
    "a worker's jobs": Case(lambda connection: workers.held_by(connection, WORKER), ("jobs_running",)),
    "a lost worker's jobs": Case(lambda connection: workers.running_jobs(connection, WORKER, 500), ("jobs_running",)),
    "workers whose rows are gone": Case(workers.missing, ("jobs_running",)),
    "removing a worker": Case(lambda connection: workers.remove(connection, WORKER), ("jobs_running",)),
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
    "live jobs": Case(lambda connection: limits.live_jobs(connection, "big", up_to=1000), ("jobs_status",), ("jobs_",)),
    "lock of a job": Case(lambda connection: transition.lock_job(connection, "big", UUID(int=1)), ("jobs_id",), ()),
    "finish": Case(lambda connection: finish(connection, LATER, [FINISH], Random(1)), ("job_parents_parent",), ()),
    "completing many": Case(
        lambda connection: finish(connection, LATER, [FINISH._replace(has_checkpoint=False)], Random(1)),
        ("jobs_id", "job_parents_parent"),
        (),
    ),
    "failing many": Case(
        lambda connection: finish(connection, LATER, [one._replace(outcome=BROKEN) for one in FAILURES], Random(1)),
        ("jobs_id", "job_parents_parent"),
        ("jobs_id",),
    ),
    "children": Case(
        lambda connection: dependencies.settle(
            connection, LATER, [Ended("big", UUID(int=1), "type1", JobStatus.COMPLETED)]
        ),
        ("job_parents_parent",),
    ),
    "jobs of a type that has none": Case(
        lambda connection: job_types.is_referenced(connection, "fax"), ("jobs_type", "jobs_"), ("jobs_",)
    ),
    "shelves of ended jobs": Case(
        lambda connection: cleanup.shelves(connection, Shelf("", ""), 1000), ("jobs_finished",)
    ),
    "old jobs of a shelf": Case(
        lambda connection: cleanup.ended_before(
            connection, Shelf("big", "type1"), LATER + timedelta(days=9), (LATER, UUID(int=1)), 200
        ),
        ("jobs_finished",),
    ),
    "old jobs that may go": Case(
        lambda connection: cleanup.lock_expired(
            connection, "big", [UUID(int=number) for number in range(500_001, 500_201)], LATER + timedelta(days=9)
        ),
        ("jobs_id", "job_parents_parent"),
        ("job_parents_parent",),
    ),
    "files to delete": Case(
        lambda connection: doomed_files.take_due(connection, START + timedelta(seconds=500_100), 200),
        ("doomed_files_due", "jobs_"),
        ("doomed_files_due",),
    ),
    "open breakers": Case(lambda connection: breakers.open_breakers(connection, "claim"), ("breakers_open",)),
    "breakers that let a job be tried": Case(
        lambda connection: breakers.lock_due(connection, LATER, PAIRS), ("breakers_",), ()
    ),
    "last breakers": Case(lambda connection: breakers.latest(connection, PAIRS), ("breakers_pk",), ()),
    "trials that have ended": Case(
        breakers.ended_trials, ("breakers_open", "jobs_", "execution_log_job"), ("breakers_open", "execution_log_job")
    ),
    "what counts towards a breaker": Case(
        lambda connection: outcomes.since(connection, LATER - timedelta(minutes=30), PAIRS), ("outcomes_pk",), ()
    ),
    "of what attempts have ended lately": Case(
        # PostgreSQL may take the key, too, which has all that is asked for.
        lambda connection: outcomes.pairs_since(connection, LATER - timedelta(minutes=2)),
        ("outcomes_",),
        ("outcomes_minute",),
    ),
    "counts that are old": Case(lambda connection: outcomes.forget(connection, LATER), ("outcomes_minute",)),
    "depths of dead letters": Case(
        lambda connection: burials.depths(connection, ["big", *(f"small{n}" for n in range(100))], up_to=50),
        ("dead_letters_",),
    ),
    "dead letters of all by error": Case(
        lambda connection: dead_letter_groups.undecided(
            connection, before=(LATER, UUID(int=510_000)), limit=51, up_to=10_001, most=1000
        ),
        ("dead_letters_group",),
    ),
    "newest dead letters": Case(letters, ("dead_letters_newest",)),
    "newest dead letters of one error": Case(
        lambda connection: letters(connection, fingerprint="frequent"), ("dead_letters_group",)
    ),
    "jobs of an organization": Case(page_of, ("jobs_",), ()),
    "jobs of a status": Case(partial(page_of, statuses=frozenset({JobStatus.PENDING})), ("jobs_status",)),
    "jobs by the end of an id": Case(partial(page_of, id_end="0007a120", words_from=UUID(int=500_000)), ("jobs_",), ()),
    "jobs from before a key": Case(
        lambda connection: sealed_texts.is_left_open(connection, "big", LATER), ("jobs_",), ()
    ),
    "whether an id ends so": Case(
        lambda connection: job_list.has_id_end(connection, "big", "0007a120", UUID(int=530_000)), ("jobs_",), ()
    ),
    "jobs that died of one error": Case(
        lambda connection: job_list.ids(
            connection,
            "big",
            job_list.Wanted(statuses=frozenset({JobStatus.DEAD_LETTER}), fingerprint="frequent"),
            before=UUID(int=540_000),
            limit=200,
        ),
        ("jobs_status", "dead_letters_"),
        ("dead_letters_group",),
    ),
    "jobs to retry": Case(to_retry, ("jobs_status", "dead_letters_"), ("dead_letters_group",)),
    "oldest jobs of a status": Case(
        lambda connection: job_list.page(
            connection,
            "big",
            job_list.Wanted(statuses=frozenset({JobStatus.PENDING})),
            beyond=UUID(int=400_100),
            limit=50,
            oldest_first=True,
        ),
        ("jobs_status",),
    ),
    "jobs of a type": Case(partial(page_of, job_type="fax"), ("jobs_type",)),
    "jobs with a label": Case(partial(page_of, labels=(("doc", "42"),)), ("labels_", "jobs_"), ()),
    "jobs of a user": Case(partial(page_of, user="guest"), ("jobs_user",)),
    "jobs of a queue": Case(partial(page_of, queue="bulk"), ("jobs_queue",)),
    "count of a type's jobs of a status": Case(
        partial(count_of, job_type="type1", statuses=frozenset({JobStatus.PENDING})), ("jobs_status",), ("jobs_",)
    ),
    "count with a common label": Case(
        partial(
            count_of,
            statuses=frozenset({JobStatus.PENDING}),
            labels=(("doc", "42"),),
            common=frozenset({("doc", "42")}),
        ),
        ("jobs_status", "labels_"),
        ("jobs_",),
    ),
    "jobs of a time": Case(partial(page_of, created_after=START + timedelta(seconds=539_990)), ("jobs_",), ()),
    "ids of a status": Case(
        lambda connection: job_list.ids(
            connection,
            "big",
            job_list.Wanted(statuses=frozenset({JobStatus.PENDING})),
            before=UUID(int=540_000),
            limit=200,
        ),
        ("jobs_status",),
    ),
    "edges at some jobs": Case(
        lambda connection: graph.edges_at(connection, "big", HUNDRED, limit=5000),
        ("job_parents_pk", "job_parents_parent"),
        ("job_parents_parent",),
    ),
    "nodes of a graph": Case(lambda connection: graph.nodes(connection, "big", HUNDRED), ("jobs_",), ()),
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
        lambda connection: timeline.submitted(connection, "big", GRID, up_to=10_001), ("jobs_pk",), ()
    ),
    "a sample of what ended": Case(
        lambda connection: timeline.sample(connection, GRID, CELLS, each=50), ("jobs_finished",)
    ),
    "starts of what runs": Case(lambda connection: timeline.running_since(connection, "small1"), ("jobs_status",)),
    # SQLite, without statistics, goes through the day that is kept.
    "whose attempts took most time": Case(
        lambda connection: shares.busiest(connection, LATER - timedelta(hours=1), limit=20), ("outcomes_minute",), ()
    ),
    "of how many attempts ended": Case(
        lambda connection: shares.number_of_organizations(connection, LATER - timedelta(hours=1)),
        ("outcomes_",),
        (),
    ),
    "time by minute": Case(
        lambda connection: shares.by_minute(connection, LATER - timedelta(hours=1), ["small1", "small2"]),
        ("outcomes_",),
        (),
    ),
    "what is in line": Case(
        lambda connection: shares.in_line(connection, LANES, up_to=10_001), ("jobs_ready",), ("jobs_ready",)
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
        lambda connection: schedules.due(connection, START + timedelta(minutes=1)), ("schedules_look_at",)
    ),
    "a schedule": Case(lambda connection: schedules.find(connection, "small1", "s1"), ("schedules_name",)),
    "an organization's schedules": Case(lambda connection: schedules.of(connection, "small1"), ("schedules_name",)),
    "bulk actions that go on": Case(bulk_actions.live, ("bulk_actions_look_at",)),
    "an organization's bulk actions that go on": Case(
        lambda connection: bulk_actions.working(connection, "small7"), ("bulk_actions_live",)
    ),
    "an organization's bulk actions": Case(
        lambda connection: bulk_actions.of(connection, "small1", None, 100), ("bulk_actions_pk",), ()
    ),
    "old bulk actions": Case(
        lambda connection: bulk_actions.forget(connection, START + timedelta(minutes=1), 100), ("bulk_actions_ended",)
    ),
    "whether a job was revived": Case(
        lambda connection: history.was_revived(connection, "small1", RUNNING, START), ("execution_log_job",)
    ),
    "watched jobs that run": Case(lambda connection: feed.watched_progress(connection, WATCHED), ("jobs_",), ()),
    "what happened to watched jobs": Case(
        lambda connection: feed.entries(connection, WATCHED, 50_400, 50_500, (), 500), ("execution_log_pk",), ()
    ),
    "what somebody missed": Case(missed, ("execution_log_pk", "jobs_"), ()),
    "new edges": Case(lambda connection: dependencies.look_at_new_edges(connection, LATER, {}), ("job_parents_new",)),
}


@pytest.fixture(scope="module")
def filled(postgres_server: str, postgres_template: str) -> Iterator[Database]:
    """PostgreSQL with a long backlog and fresh statistics."""
    name = f"test_{uuid4().hex}"
    create_database(postgres_server, name, template=postgres_template)
    url = database_on(postgres_server, name)
    with psycopg.connect(url, autocommit=True) as connection:
        # FREEZE waits for pages that a checkpoint is writing; without it they are passed over, some thousands of them
        # at times, and an index alone is not believed to be enough.
        for statement in (*FILLS, "VACUUM (FREEZE, ANALYZE)"):
            connection.execute(statement)
    database = Database(url)
    yield database
    database.close()
    drop_database(postgres_server, name)


@pytest.mark.parametrize("generic", [False, True], ids=["for its parameters", "for any parameters"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_postgres_reads_by_index(filled: Database, case: Case, generic: bool) -> None:
    found = plans(filled, case.work, generic=generic)

    for table in TABLES:
        assert [line for plan in found for line in scans(plan, table)] == []
    for index in case.indexes:
        assert any(f"fairlane_{index}" in plan for plan in found), found


@pytest.mark.parametrize("what", [lanes.active_lanes, lanes.active_rungs], ids=["lanes", "rungs"])
def test_lanes_are_found_in_the_index_alone(filled: Database, what: Callable[[Connection], object]) -> None:
    (plan,) = plans(filled, what)

    assert plan.count("Index Only Scan using fairlane_jobs_ready") == 2
    assert " Sort " not in plan


def test_claim_reads_a_lane_in_the_order_of_the_index(filled: Database) -> None:
    plan = plans(filled, CASES["claim"].work)[-1]
    lane, rest = plan.split("CTE urgent")[1].split("CTE picked")
    update = rest.split("CTE claimed")[1]

    assert "Index Scan using fairlane_jobs_ready" in lane
    assert "Sort" not in lane, "LIMIT has to end the read of a lane; a sort would read all of it"
    assert "Index Scan using fairlane_jobs_id" in update


@pytest.mark.parametrize("generic", [False, True], ids=["for its parameters", "for any parameters"])
def test_claim_passes_over_nothing_before_a_rung_s_beginning(filled: Database, generic: bool) -> None:
    lines = plans(filled, CASES["claim of rungs"].work, generic=generic)[-1].splitlines()
    reads = [number for number, line in enumerate(lines) if "Index Scan using fairlane_jobs_ready" in line]
    conditions = [lines[number + 1] for number in reads]

    assert len(reads) == 2
    for beginning in ("ROW(priority, run_at, id) >= ROW(", "ROW(run_at, id) >= ROW("):
        assert sum("Index Cond" in one and beginning in one for one in conditions) == 1
    for number in reads:
        assert "LockRows" in lines[number - 1], "LIMIT has to end the read of a rung; a sort would read all of it"


@pytest.mark.parametrize("generic", [False, True], ids=["for its parameters", "for any parameters"])
def test_what_somebody_missed_is_looked_for_at_the_end_of_the_log(filled: Database, generic: bool) -> None:
    lines = plans(filled, missed, generic=generic)[-1].splitlines()
    (log,) = [number for number, line in enumerate(lines) if " on fairlane_execution_log" in line]

    assert "Index Cond: ((id >= " in lines[log + 1]


@pytest.mark.parametrize("generic", [False, True], ids=["for its parameters", "for any parameters"])
def test_those_of_many_watched_jobs_that_run_are_found_among_what_runs(filled: Database, generic: bool) -> None:
    (plan,) = plans(filled, CASES["watched jobs that run"].work, generic=generic)

    assert re.search(r"fairlane_jobs_(running|status)", plan), "thousands that are watched must not be looked up"


def test_progress_of_what_runs_is_looked_up_however_much_runs(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (BUSY, PROGRESS, "VACUUM (FREEZE, ANALYZE)"):
            connection.execute(statement)
    database = Database(postgres_url)
    watched, heard = Audience(jobs=frozenset({("small1", UUID(int=7))})), Audience(frozenset({"small1"}))

    def look(connection: Connection) -> None:
        assert len(feed.watched_progress(connection, watched)) == 1
        assert len(feed.running_progress(connection, heard, 10_000)) == 5_000

    found = [plan for generic in (False, True) for plan in plans(database, look, generic=generic)]
    database.close()
    for plan in found:
        assert "Index Scan using fairlane_progress_pk" in plan


def test_clean_up_reads_a_shelf_from_where_it_is(filled: Database) -> None:
    (plan,) = plans(filled, CASES["old jobs of a shelf"].work)

    assert "Sort" not in plan, "LIMIT has to end the read; a sort would read all that is kept"
    assert "Filter" not in plan, "what was looked at before must not be read again"


@pytest.mark.parametrize("fingerprint", [None, "frequent"])
def test_a_page_of_dead_letters_is_read_from_where_it_is(filled: Database, fingerprint: str | None) -> None:
    (plan,) = plans(filled, partial(letters, fingerprint=fingerprint))
    of_letters, _, of_jobs = plan.partition("using fairlane_jobs")

    assert "Sort" not in plan, "LIMIT has to end the read; a sort would read all of them"
    assert "Filter" not in of_letters, "what stood on the pages before must not be read again"
    assert "Index Cond: (id = fairlane_dead_letters.job_id)" in of_jobs, "and each job is read for its letter alone"


@pytest.mark.parametrize(("most", "few"), [("ignored", "pending"), ("pending", "ignored")])
def test_a_retry_of_many_reads_no_table_for_what_is_open(postgres_url: str, most: str, few: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(DEAD)
        connection.execute(DECIDED, {"most": most, "few": few})
        connection.execute("VACUUM (FREEZE, ANALYZE)")
    database = Database(postgres_url)
    found = plans(database, to_retry_and_how_many)
    database.close()

    for table in ("fairlane_jobs", "fairlane_dead_letters"):
        assert [line for plan in found for line in scans(plan, table)] == []
    if few == "pending":
        for plan in found[1:]:
            assert re.search(r"fairlane_dead_letters_(newest|group)", plan), "what is decided about must not be read"


def test_few_jobs_of_a_user_are_counted_without_reading_all_that_have_the_status(filled: Database) -> None:
    plan = plans(filled, partial(count_of, user="guest", statuses=frozenset({JobStatus.QUEUED})))[-1]

    assert "fairlane_jobs_user" in plan


def test_what_few_jobs_of_a_status_fit_is_counted_in_the_index_alone(filled: Database) -> None:
    wanted: tuple[dict[str, Any], ...] = ({"job_type": "type1"}, {"user": "user1"}, {"queue": "default"})
    for filters in wanted:
        plan = plans(filled, partial(count_of, **filters, statuses=frozenset({JobStatus.PENDING})))[-1]

        assert "Index Only Scan using fairlane_jobs_status" in plan


def test_finish_finds_its_row_by_its_key(filled: Database) -> None:
    """Few jobs of the organization ran when statistics were gathered; by now it may be thousands, and dead entries."""
    found = "\n".join(plans(filled, CASES["finish"].work))

    assert "fairlane_jobs_live" not in found


@pytest.fixture
def empty(sqlite_url: str) -> Iterator[Database]:
    """SQLite, which plans without statistics until somebody gathers them."""
    database = Database(sqlite_url)
    yield database
    database.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sqlite_reads_by_index(empty: Database, case: Case) -> None:
    found = "\n".join(plans(empty, case.work))

    for table in TABLES:
        assert scans(found, table) == []
    for index in case.sqlite_indexes if case.sqlite_indexes is not None else case.indexes:
        assert f"INDEX fairlane_{index}" in found


def test_sqlite_claims_in_the_order_of_the_index(empty: Database) -> None:
    found = "\n".join(plans(empty, CASES["claim"].work) + plans(empty, lanes.active_lanes))

    assert "TEMP B-TREE" not in found
