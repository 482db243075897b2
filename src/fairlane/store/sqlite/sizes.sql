-- Measure the parameters of jobs that are picked for a claim.
SELECT json_group_array(json_array(given.key, length(jobs.parameters)))
FROM json_each(:rows) AS given JOIN fairlane_live AS live ON live.rowid = given.value
JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
