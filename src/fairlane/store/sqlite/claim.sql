-- Give the picked jobs to a worker, each under a lease of its own: given has the row and the lease of each. Rows are
-- known by their rowid, which nobody changes meanwhile: SQLite's write transaction is exclusive.
-- What the job becomes (target, ready, next_retry_at, attempt) is that of domain.transitions.claim.
UPDATE fairlane_live SET status = :target, ready = :ready, attempt = attempt + :attempt, worker_id = :worker_id,
  lease_token = given.value ->> 1, started_at = :now, next_retry_at = :next_retry_at, log_sequence = log_sequence + 1
FROM json_each(:given) AS given WHERE fairlane_live.rowid = given.value ->> 0
