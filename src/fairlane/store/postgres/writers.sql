-- Find who writes. Whoever has written to a table, or locked rows of it, holds these locks to the end of their
-- transaction; also while they wait for a row. Locks say which database they are of, everybody may read them, and
-- prepared transactions have theirs, without a pid. Of tables only: a VACUUM holds such locks on indexes. When a
-- transaction began is told of sessions of the same login, and to who may see all; of whatever it is not told may have
-- begun before.
SELECT DISTINCT virtualtransaction, pid FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND mode IN ('RowExclusiveLock', 'RowShareLock')
  AND relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relname LIKE 'fairlane!_%' ESCAPE '!')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (xact_start IS NULL OR xact_start < clock_timestamp() - make_interval(secs => :seconds))
