-- Write the log entries of claimed jobs. Their values (source, target, message) come from domain.transitions.claim.
INSERT INTO fairlane_execution_log
  (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
SELECT live.organization_id, live.id, live.log_sequence, :source, :target, :now, :actor, :message, live.attempt
FROM json_each(:given) AS given JOIN fairlane_live AS live ON live.rowid = given.value ->> 0
