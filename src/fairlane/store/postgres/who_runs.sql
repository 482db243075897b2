-- Count running jobs, by worker: each running job has a worker. With a condition on the status alone, the planner may
-- read all jobs of that status.
SELECT worker_id, job_type, organization_id, count(*) AS number FROM fairlane_live
WHERE status = :status AND worker_id = ANY(ARRAY(SELECT id FROM fairlane_workers))
GROUP BY worker_id, job_type, organization_id
