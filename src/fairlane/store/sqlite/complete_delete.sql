-- Delete the live rows of jobs whose end is written.
DELETE FROM fairlane_live WHERE rowid IN (SELECT value FROM json_each(:rows))
