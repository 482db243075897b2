-- Give the picked jobs to a worker: `given` has the rowid and the lease token of each job. Rowids stay valid, as
-- SQLite's write transaction is exclusive. The job's new values (target, ready, next_retry_at, attempt) come from
-- domain.transitions.claim.
UPDATE fairlane_live SET status = :target, ready = :ready, attempt = attempt + :attempt, worker_id = :worker_id,
  lease_token = given.value ->> 1, started_at = :now, next_retry_at = :next_retry_at, log_sequence = log_sequence + 1
FROM json_each(:given) AS given WHERE fairlane_live.rowid = given.value ->> 0
