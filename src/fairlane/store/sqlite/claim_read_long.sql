-- Read the parameters that claim_read.sql omits.
SELECT given.key, jobs.parameters
FROM json_each(:given) AS given JOIN fairlane_live AS live ON live.rowid = given.value ->> 0
JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
WHERE length(jobs.parameters) >= :long
