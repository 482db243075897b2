-- Read what the worker needs of its claimed jobs. The answer is one row of JSON: Python's SQLite module releases the
-- interpreter's lock at each row, and waits for it again while the worker's loop is busy. Long parameters are in
-- separate rows (claim_read_long.sql), which keeps the JSON small.
SELECT json_group_array(json_array(given.key, live.organization_id, live.id, live.job_type, live.queue,
  live.submitted_by, jobs.required_permission,
  CASE WHEN length(jobs.parameters) < :long THEN jobs.parameters END, jobs.labels, live.attempt,
  jobs.timeout_seconds, live.lease_token, live.priority, live.run_at,
  EXISTS (SELECT 1 FROM fairlane_job_parents AS edge
    WHERE edge.organization_id = live.organization_id AND edge.job_id = live.id), member.role, member.permissions,
  jobs.headers))
FROM json_each(:given) AS given JOIN fairlane_live AS live ON live.rowid = given.value ->> 0
JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
LEFT JOIN fairlane_members AS member
  ON member.organization_id = live.organization_id AND member.user_id = live.submitted_by
