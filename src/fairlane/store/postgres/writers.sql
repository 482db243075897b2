-- Find writing transactions. A transaction that wrote to a table, or locked rows of it, has these locks until its end,
-- even while it waits for a row. Locks name their database, and every login may read them. Prepared transactions have
-- locks without a pid. Only locks on tables count, because a VACUUM has such locks on indexes. A login sees when the
-- transactions of its own sessions started; with the right to, it sees this of all sessions. A transaction whose start
-- is hidden counts: it may have begun before.
SELECT DISTINCT virtualtransaction, pid FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND mode IN ('RowExclusiveLock', 'RowShareLock')
  AND relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relname LIKE 'fairlane!_%' ESCAPE '!')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (xact_start IS NULL OR xact_start < clock_timestamp() - make_interval(secs => :seconds))
