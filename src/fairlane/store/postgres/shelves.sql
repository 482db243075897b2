-- Find the shelves that follow this one, each with the time at which its oldest job ended. Skip scan: one index probe
-- per shelf, however many jobs it has.
WITH RECURSIVE shelf AS (
  (SELECT organization_id, job_type, finished_at FROM fairlane_ended
   WHERE (organization_id, job_type) > (:organization, :job_type)
   ORDER BY organization_id, job_type, finished_at LIMIT 1)
  UNION ALL
  SELECT following.* FROM shelf CROSS JOIN LATERAL (
    SELECT organization_id, job_type, finished_at FROM fairlane_ended
    WHERE (organization_id, job_type) > (shelf.organization_id, shelf.job_type)
    ORDER BY organization_id, job_type, finished_at LIMIT 1) AS following
)
SELECT organization_id, job_type, finished_at FROM shelf LIMIT :limit
