-- Count running jobs, by worker, as each running job has one: by status the planner may read all jobs of a status.
SELECT worker_id, job_type, organization_id, count(*) AS number FROM fairlane_live
WHERE status = :status AND worker_id = ANY(ARRAY(SELECT id FROM fairlane_workers))
GROUP BY worker_id, job_type, organization_id
