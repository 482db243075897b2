-- Find the shelves that follow this one, each with the time at which its oldest job ended. Skip scan, as in lanes.sql:
-- it finds the next shelf in the same organization, then in all later organizations.
WITH RECURSIVE shelf(organization_id, job_type) AS (
  VALUES (:organization, :job_type)
  UNION ALL
  SELECT job.organization_id, job.job_type
  FROM shelf JOIN fairlane_ended AS job ON job.rowid = coalesce(
    (SELECT rowid FROM fairlane_ended
      WHERE organization_id = shelf.organization_id AND job_type > shelf.job_type
      ORDER BY organization_id, job_type, finished_at LIMIT 1),
    (SELECT rowid FROM fairlane_ended
      WHERE organization_id > shelf.organization_id
      ORDER BY organization_id, job_type, finished_at LIMIT 1))
)
SELECT organization_id, job_type, (
  SELECT min(finished_at) FROM fairlane_ended AS job
  WHERE job.organization_id = shelf.organization_id AND job.job_type = shelf.job_type)
FROM shelf LIMIT :limit OFFSET 1
