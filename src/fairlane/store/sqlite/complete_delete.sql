-- Delete the live rows of jobs whose end was written.
DELETE FROM fairlane_live WHERE rowid IN (SELECT value FROM json_each(:rows))
