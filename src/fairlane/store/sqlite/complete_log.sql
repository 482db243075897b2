-- Write the log entries of completed jobs. Their values (source, target, message) come from
-- domain.transitions.complete.
INSERT INTO fairlane_execution_log
  (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
SELECT organization_id, id, log_sequence + 1, :source, :target, :now, :actor, :message, attempt
FROM fairlane_live WHERE rowid IN (SELECT value FROM json_each(:rows))
