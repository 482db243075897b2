-- Write the ends of these jobs. SQLite has no nested writes, so complete_log.sql and complete_delete.sql follow. If the
-- application has inserted a live row for an ended job, that job's end stays unchanged, and the other jobs are
-- completed. The job's new values (target, error_type, error_message) come from domain.transitions.complete.
INSERT INTO fairlane_ended (organization_id, id, queue, job_type, submitted_by, created_at, status, priority, run_at,
  attempt, retry_count, rescue_count, log_sequence, cancel_requested_at, error_type, error_message, started_at,
  finished_at)
SELECT organization_id, id, queue, job_type, submitted_by, created_at, :target, priority, run_at,
  attempt, retry_count, rescue_count, log_sequence + 1, cancel_requested_at, :error_type, :error_message, started_at,
  :now
FROM fairlane_live WHERE rowid IN (SELECT value FROM json_each(:rows))
ON CONFLICT (organization_id, id) DO NOTHING
