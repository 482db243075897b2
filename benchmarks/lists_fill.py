"""A million jobs for `benchmarks.lists`, in a minute: what a month leaves behind, a third of it of the last day."""

import time

from sqlalchemy import create_engine, make_url, text

from benchmarks.planting import insert_jobs

# Everything is drawn from the row's number, so that each fill is the same, but for the time of its end.
_JOBS = insert_jobs(
    """
SELECT organization AS organization_id, id, queue, job_type, status, submitter AS submitted_by, at AS created_at,
  status = 'queued' AND chance >= 10 AS ready,
  CASE WHEN status = 'queued' AND chance < 10 THEN now() + interval '2 h' END AS next_retry_at,
  json_build_object('document', n, 'title', 'The report of month ' || n % 12, 'pages', n % 90)::text AS parameters,
  CASE WHEN status IN ('queued', 'pending') THEN 0 ELSE 1 END AS attempt,
  CASE status WHEN 'running' THEN lpad(to_hex(n % 5 + 1), 32, '0')::uuid END AS worker_id,
  CASE status WHEN 'running' THEN id END AS lease_token,
  CASE status WHEN 'dead_letter' THEN 'PrinterError' END AS error_type,
  CASE status WHEN 'dead_letter' THEN 'No paper ' || n % 100 || ' in the tray of printer ' || n % 7 END
    AS error_message,
  CASE WHEN status IN ('running', 'completed', 'dead_letter') THEN at + interval '1 s' END AS started_at,
  least(at + (n % 30) * interval '1 s', now()) AS finished_at,
  CASE status WHEN 'canceled' THEN at END AS canceled_at, CASE status WHEN 'canceled' THEN submitter END AS canceled_by
FROM (
  SELECT *, CASE
    WHEN chance < 40 THEN 'queued' WHEN chance < 60 THEN 'pending' WHEN chance < 61 AND n % 20 = 0 THEN 'running'
    WHEN chance < 90 THEN 'dead_letter'
    WHEN chance < 110 AND submitter IS DISTINCT FROM 'user-0' AND job_type NOT IN ('type-0', 'type-1') THEN 'canceled'
    ELSE 'completed' END AS status
  FROM (
    SELECT *,
      CASE WHEN n % 1000 = 7 THEN 'odd-' || n / 1000 % 20
        WHEN job_type = 'type-0' AND c % 3 = 0 THEN 'bulk-' || c % 9 / 3 ELSE 'default' END AS queue,
      CASE WHEN n % 1000 = 5 THEN 'guest-' || n / 1000 % 1000 WHEN d % 10 < 3 THEN NULL
        WHEN job_type = 'type-0' THEN 'user-0' ELSE 'user-' || d % 3 END AS submitter,
      (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
        || lpad(to_hex(n), 15, '0'))::uuid AS id
    FROM (
      SELECT n, chance, c, d, now() - interval '30 days' * power(1 - n / (:jobs + 1.0), 3) AS at,
        CASE WHEN a < 700 THEN 'big' WHEN a < 900 THEN 'middle' ELSE 'small-' || b END AS organization,
        CASE WHEN n % 1000 = 3 THEN 'rare-' || n / 1000 % 50 ELSE 'type-' || c % 5 END AS job_type
      FROM generate_series(1, :jobs) AS n, LATERAL (SELECT abs(hashint8extended(n, 1)) % 1000 AS a,
        abs(hashint8extended(n, 2)) % 1000 AS b, abs(hashint8extended(n, 3)) % 1000 AS c,
        abs(hashint8extended(n, 4)) % 1000 AS d, abs(hashint8extended(n, 5)) % 1000 AS chance) AS drawn
    ) AS placed
  ) AS named
) AS job
""",
    *("queue", "submitted_by", "ready", "next_retry_at", "parameters", "attempt", "worker_id", "lease_token"),
    *("error_type", "error_message", "started_at", "finished_at", "canceled_at", "canceled_by"),
)
_ORGANIZATIONS = """
INSERT INTO fairlane_organizations (id, name, status, created_at)
SELECT id, id, 'active', now() FROM (SELECT DISTINCT organization_id AS id FROM fairlane_jobs) AS used
ON CONFLICT DO NOTHING
"""
_LABELS = """
INSERT INTO fairlane_labels (organization_id, name, value, created_at, job_id)
SELECT organization_id, label.name, label.value, created_at, id
FROM (SELECT *, row_number() OVER () AS n FROM fairlane_jobs) AS job,
  LATERAL (SELECT 'stage' AS name, 'live' AS value WHERE n % 10 < 6
    UNION ALL SELECT 'kind', 'test' WHERE n % 10 = 7
    UNION ALL SELECT 'document', (n / 20 % 5000)::text WHERE n % 20 = 0) AS label
"""
_LETTERS = """
INSERT INTO fairlane_dead_letters
  (organization_id, job_id, job_type, reason, error_type, fingerprint, entered_at, resolution)
SELECT organization_id, id, job_type, error_message, error_type,
  'print-' || abs(hashtext(error_message)) % 40, finished_at,
  CASE WHEN abs(hashtext(id::text)) % 4 = 0 THEN 'resolved' ELSE 'pending' END
FROM fairlane_ended WHERE status = 'dead_letter'
"""
_COUNTS = """
INSERT INTO fairlane_outcomes (organization_id, job_type, minute, worker_id, completions, failures, seconds)
SELECT organization_id, job_type, date_trunc('minute', finished_at), lpad(to_hex(worker), 32, '0')::uuid,
  count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status <> 'completed'), count(*) * 2.5
FROM fairlane_ended, generate_series(1, 2) AS worker
WHERE finished_at > now() - interval '1 day' GROUP BY 1, 2, 3, 4
"""


def fill(url: str, number: int) -> None:
    """Fill the database by its owner, unless it has as many jobs."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM fairlane_jobs")).scalar_one()
    if found >= number:
        print(f"{found:,} jobs are there")
        return
    begun = time.monotonic()
    with engine.begin() as connection:
        # What follows refers to what was written just before.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in (_JOBS, _ORGANIZATIONS, _LABELS, _LETTERS, _COUNTS):
            connection.execute(text(statement), {"jobs": number} if ":jobs" in statement else {})
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    engine.dispose()
    print(f"{number:,} jobs after {time.monotonic() - begun:.0f} s", flush=True)
