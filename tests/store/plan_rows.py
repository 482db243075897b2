"""Rows that skew PostgreSQL's statistics, as SQL: what the statements that run all day are planned among."""

from benchmarks.planting import insert_jobs


def jobs_by(share: int = 1) -> str:
    """Return the statement that inserts the jobs, or one in so many of the large organization's.

    They are 190,000 ready jobs of that one and 500 of a hundred others, 50,000 future retries, 500 running, 10,000
    waiting for their time, 50,000 done. Ids, times and lease tokens are made of the row's number.
    """
    return insert_jobs(
        f"""
SELECT organization AS organization_id, number_id AS id, 'type' || n % 5 AS job_type, status, ready,
  CASE WHEN status = 'queued' AND NOT ready THEN moment + interval '60 days' END AS next_retry_at,
  'user' || n % 50 AS submitted_by, CASE status WHEN 'running' THEN lpad(to_hex(n % 5), 32, '0')::uuid END AS worker_id,
  CASE status WHEN 'running' THEN number_id END AS lease_token, moment AS created_at,
  CASE status WHEN 'running' THEN moment END AS started_at
FROM (
  SELECT n, 'big' AS organization, 'queued' AS status, true AS ready FROM generate_series(1, 190000 / {share}) AS n
  UNION ALL SELECT n, 'small' || n % 100, 'queued', true FROM generate_series(190001, 190500) AS n
  UNION ALL SELECT n, 'big', 'queued', false FROM generate_series(200001, 200000 + 50000 / {share}) AS n
  UNION ALL SELECT n, 'small' || n % 100, 'running', false FROM generate_series(300001, 300500) AS n
  UNION ALL SELECT n, 'big', 'pending', false FROM generate_series(400001, 400000 + 10000 / {share}) AS n
  UNION ALL SELECT n, 'big', 'completed', false FROM generate_series(500001, 500000 + 50000 / {share}) AS n) AS job,
  LATERAL (SELECT lpad(to_hex(n), 32, '0')::uuid AS number_id,
                  '2026-11-01Z'::timestamptz + n * interval '1 s' AS moment) AS its
""",
        *("ready", "next_retry_at", "submitted_by", "worker_id", "lease_token", "started_at"),
    )


# Each waiting job has a parent of its own, and needs it no more.
EDGES = """
INSERT INTO fairlane_job_parents (organization_id, job_id, parent_id, state)
SELECT organization_id, id, lpad(to_hex(row_number() OVER ()), 32, '0')::uuid, 'watched'
FROM fairlane_live WHERE status = 'pending'
"""
PROGRESS = """
INSERT INTO fairlane_progress (organization_id, job_id, attempt, sequence, percent, at)
SELECT organization_id, id, attempt, 1, 50, created_at FROM fairlane_live WHERE status = 'running'
UNION ALL SELECT organization_id, id, attempt, 1, 50, created_at FROM fairlane_ended
"""
ERRORS = """
INSERT INTO fairlane_attempt_errors (organization_id, job_id, attempt, at, error_type, message, traceback, fingerprint)
SELECT organization_id, id, 1, created_at, 'E', '', '', 'E' FROM fairlane_ended
"""
# Five thousand run, and many that ended have kept their progress.
BUSY = insert_jobs(
    """
SELECT 'small1' AS organization_id, id, 'type1' AS job_type, status, 1 AS attempt, now() AS created_at,
  CASE status WHEN 'running' THEN id END AS worker_id, CASE status WHEN 'running' THEN id END AS lease_token
FROM (SELECT lpad(to_hex(n), 32, '0')::uuid AS id, CASE WHEN n <= 5000 THEN 'running' ELSE 'completed' END AS status
      FROM generate_series(1, 60000) AS n) AS its
""",
    *("attempt", "worker_id", "lease_token"),
)
# A few files to be deleted, many that are being stored.
FILES = """
INSERT INTO fairlane_doomed_files (organization_id, id, path, job_id, lease_token, since, due_at)
SELECT 'big', id, 'big/' || id, id, id, created_at, created_at FROM fairlane_ended
"""
ORGANIZATIONS = """
INSERT INTO fairlane_organizations (id, name, status, created_at)
SELECT 'small' || n, '', CASE WHEN n % 1000 = 0 THEN 'suspended' ELSE 'active' END, '2026-11-01Z'
FROM generate_series(1, 10000) AS n
"""
# The quota rows of submissions and of claims, and the starts of many claims within the windows of their rates.
QUOTAS = """
INSERT INTO fairlane_quotas (organization_id, subject, used_at)
SELECT 'big', 'rate/type' || n % 5 || '/user' || n, '2026-11-01Z'::timestamptz FROM generate_series(1, 20000) AS n
UNION ALL SELECT organization, subject, '2026-11-01Z'
FROM (VALUES ('big', 'limit'), ('big', 'limit/type0'), ('', 'limit/type0')) AS claims (organization, subject)
"""
SUBMISSIONS = """
INSERT INTO fairlane_submissions (organization_id, job_type, submitted_by, at)
SELECT 'big', 'type' || n % 5, CASE WHEN n % 3 > 0 THEN 'user' || n % 3 ELSE '' END,
  '2026-11-01Z'::timestamptz + n * interval '1 s'
FROM generate_series(1, 20000) AS n
"""
KEYS = """
INSERT INTO fairlane_idempotency_keys (organization_id, user_id, key, request_hash, job_ids, created_at)
SELECT 'big', 'user' || n % 3, 'key' || n, '', '[]', '2026-11-01Z'::timestamptz + n * interval '1 s'
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
FROM (SELECT organization_id, id, status, created_at FROM fairlane_live WHERE status = 'running'
  UNION ALL SELECT organization_id, id, status, created_at FROM fairlane_ended) AS job
"""
# Most dead letters of an organization are of one error, and nobody has decided about them.
LETTERS = """
INSERT INTO fairlane_dead_letters
  (organization_id, job_id, job_type, reason, error_type, fingerprint, entered_at, resolution)
SELECT organization_id, id, job_type, '', 'E', CASE WHEN n % 20 = 0 THEN 'rare' ELSE 'frequent' END, created_at,
  CASE WHEN n % 10 = 0 THEN 'resolved' ELSE 'pending' END
FROM (SELECT *, row_number() OVER () AS n FROM fairlane_ended) AS job
"""
REVIVALS = """
INSERT INTO fairlane_revivals (organization_id, job_id, actor)
SELECT organization_id, id, 'ana' FROM fairlane_ended
"""
# 40,000 dead letters of one organization; all but a few are decided about, or only a few.
DEAD = insert_jobs("""
SELECT 'big' AS organization_id, lpad(to_hex(600000 + n), 32, '0')::uuid AS id, 'type' || n % 5 AS job_type,
  'dead_letter' AS status, '2026-11-01Z'::timestamptz + n * interval '1 s' AS created_at
FROM generate_series(1, 40000) AS n
""")
DECIDED = """
INSERT INTO fairlane_dead_letters
  (organization_id, job_id, job_type, reason, error_type, fingerprint, caused_by, entered_at, resolution)
SELECT organization_id, id, job_type, '', 'E', 'frequent', lpad(to_hex(600001), 32, '0')::uuid, created_at,
  CASE WHEN row_number() OVER () %% 1000 = 0 THEN %(few)s ELSE %(most)s END
FROM fairlane_jobs
"""
# The first of them took down the second, that one the third, and so on; the others died by themselves.
CHAIN = """
INSERT INTO fairlane_dead_letters
  (organization_id, job_id, job_type, reason, error_type, fingerprint, caused_by, entered_at, resolution)
SELECT organization_id, id, job_type, '', 'E', 'frequent',
  CASE WHEN n BETWEEN 2 AND 100 THEN lpad(to_hex(600000 + n - 1), 32, '0')::uuid END, created_at, 'pending'
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM fairlane_jobs) AS job
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
# Few jobs have the one, a hundred have each value; many have the other.
LABELS = """
INSERT INTO fairlane_labels (organization_id, name, value, created_at, job_id)
(SELECT organization_id, 'doc', (row_number() OVER () / 100)::text, created_at, id
FROM fairlane_ended LIMIT 5000)
UNION ALL SELECT organization_id, 'team', 'all', created_at, id FROM fairlane_ended
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
    *(
        ORGANIZATIONS,
        jobs_by(),
        EDGES,
        FILES,
        QUOTAS,
        SUBMISSIONS,
        KEYS,
        STARTS,
        LOG,
        LETTERS,
        REVIVALS,
        COUNTS,
        BREAKERS,
        LABELS,
        AUDIT,
    ),
    PROGRESS,
    ERRORS,
    SCHEDULES,
    BULK_ACTIONS,
)
