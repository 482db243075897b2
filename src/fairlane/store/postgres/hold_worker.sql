-- Lock the worker's row for a claim. KEY SHARE lets the heartbeat pass. It keeps rescuers, who lock the row FOR UPDATE,
-- from giving the worker up between their look at its jobs and their delete.
--
-- Also set the planner for the rest of the transaction. If statistics are missing or old, the planner expects a single
-- row, takes any index, and reads a whole lane to sort it, or all edges to see that a job has none. A claim also locks
-- rows that others claimed while it looked, and keeps these locks to its end. A worker that freezes in the middle loses
-- these locks when it loses its jobs: after a lease. A slow process may pause for seconds between two statements, and
-- must not end its own claim.
SELECT lease_expires, set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
  set_config('idle_in_transaction_session_timeout', :pause, true)
FROM fairlane_workers WHERE id = :worker FOR KEY SHARE
