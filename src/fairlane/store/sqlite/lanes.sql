-- Find all lanes with a ready job, or those of named queues, each with its organization's standing. The statement uses
-- only one kind of the parts between "all {" or "named {" and "}". Skip scan: one index probe per lane. SQLite has no
-- LATERAL, and a comparison of rows, (queue, organization, type) > (…), would read all equal entries. So the statement
-- finds the next lane in the same queue and organization, then in the same queue, then in all queues.
WITH RECURSIVE lane(job) AS (
  SELECT (SELECT rowid FROM fairlane_live WHERE ready = 1
-- named {
    AND queue = named.value
-- }
    ORDER BY queue, organization_id, job_type LIMIT 1)
-- named {
  FROM json_each(:queues) AS named
-- }
  UNION ALL
  SELECT coalesce(
    (SELECT rowid FROM fairlane_live AS following WHERE ready = 1
      AND queue = job.queue AND organization_id = job.organization_id AND job_type > job.job_type
      ORDER BY queue, organization_id, job_type LIMIT 1),
    (SELECT rowid FROM fairlane_live AS following WHERE ready = 1
      AND queue = job.queue AND organization_id > job.organization_id
      ORDER BY queue, organization_id, job_type LIMIT 1)
-- all {
    , (SELECT rowid FROM fairlane_live AS following WHERE ready = 1
      AND queue > job.queue
      ORDER BY queue, organization_id, job_type LIMIT 1)
-- }
  )
  FROM lane JOIN fairlane_live AS job ON job.rowid = lane.job
)
SELECT job.queue, job.organization_id, job.job_type, own.status, own.max_running, own.weight, NULL, NULL, NULL
FROM lane JOIN fairlane_live AS job ON job.rowid = lane.job
LEFT JOIN fairlane_organizations AS own ON own.id = job.organization_id
