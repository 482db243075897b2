-- Lock the worker's row for a claim. KEY SHARE does not block the heartbeat. It blocks rescuers, who lock the row FOR
-- UPDATE: without it, a rescuer could read the worker's jobs, miss those of this claim, and delete the worker's row.
--
-- Also set the planner for the rest of the transaction. If statistics are missing or old, the planner expects a single
-- row and takes any index. Then it reads a whole lane to sort it, or all edges to find that a job has no edge.
--
-- Also set the longest pause between two statements to one lease. A claim keeps its locks until its end, even on rows
-- that another worker claimed meanwhile. A frozen worker loses these locks when it loses its jobs. A shorter time would
-- end the claims of a slow process, which may pause for seconds.
SELECT lease_expires, set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
  set_config('idle_in_transaction_session_timeout', :pause, true)
FROM fairlane_workers WHERE id = :worker FOR KEY SHARE
