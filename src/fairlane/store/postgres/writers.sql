-- Find writing transactions. A transaction that wrote to a table, or locked rows of it, holds these locks to its end,
-- even while it waits for a row. Locks name their database, everybody may read them, and prepared transactions hold
-- them without a pid. Only locks on tables count: a VACUUM holds such locks on indexes. A login sees the start of its
-- own sessions' transactions, and of all with the right to. A transaction whose start is hidden may have begun before.
SELECT DISTINCT virtualtransaction, pid FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND mode IN ('RowExclusiveLock', 'RowShareLock')
  AND relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relname LIKE 'fairlane!_%' ESCAPE '!')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (xact_start IS NULL OR xact_start < clock_timestamp() - make_interval(secs => :seconds))
