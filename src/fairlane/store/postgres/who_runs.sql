-- Count what runs, by worker, since each running job has one: else the planner may go through all jobs of some status.
SELECT worker_id, job_type, organization_id, count(*) AS number FROM fairlane_live
WHERE status = :status AND worker_id = ANY(ARRAY(SELECT id FROM fairlane_workers))
GROUP BY worker_id, job_type, organization_id
