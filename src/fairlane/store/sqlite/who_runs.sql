-- Count running jobs, by worker.
SELECT worker_id, job_type, organization_id, count(*) AS number FROM fairlane_live
WHERE status = :status AND worker_id IN (SELECT id FROM fairlane_workers)
GROUP BY worker_id, job_type, organization_id
