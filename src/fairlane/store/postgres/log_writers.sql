-- Find transactions that write to the log or an alert. Each holds this lock from before it draws its first number until
-- its rows are visible. Unlike snapshots, locks name their database, and everybody may read them. Prepared transactions
-- hold them, too.
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation IN (to_regclass('fairlane_execution_log'), to_regclass('fairlane_alerts'))
  AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
