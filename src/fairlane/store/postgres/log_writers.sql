-- Find who writes to the log or an alert. Each such transaction holds this lock to its end, and from before it draws its
-- first number; it is let go after its rows can be seen. Unlike snapshots, locks say which database they are of, and
-- everybody may read them. Prepared transactions have theirs, too.
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation IN (to_regclass('fairlane_execution_log'), to_regclass('fairlane_alerts'))
  AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
