-- Hold the worker's row for a claim. KEY SHARE lets the heartbeat through and keeps rescuers, who lock the row FOR
-- UPDATE, from giving the worker up between their look at its jobs and their delete.
--
-- And, for the rest of the transaction: where statistics are missing or old, the planner expects a single row, takes any
-- index and would read all of a lane to sort it, or all edges to see that a job has none. A claim locks rows that others
-- have claimed while it looked, too, and keeps them to its end. A worker that is frozen in the middle loses these locks
-- when it loses its jobs: after a lease. A slow process may pause for seconds between two statements, and must not end
-- its own claim.
SELECT lease_expires, set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
  set_config('idle_in_transaction_session_timeout', :pause, true)
FROM fairlane_workers WHERE id = :worker FOR KEY SHARE
