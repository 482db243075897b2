-- Find transactions that write to the log or an alert. Each of them has this lock before it draws its first number, and
-- until its rows are visible. Unlike snapshots, locks name their database, and every login may read them. Prepared
-- transactions have such locks, too.
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation IN (to_regclass('fairlane_execution_log'), to_regclass('fairlane_alerts'))
  AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
