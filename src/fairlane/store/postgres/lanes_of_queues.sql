-- Find the lanes of these queues, as lanes.sql finds those of all. No other queue is probed: who submits to queues that
-- a worker does not serve, to however many, does not slow it.
WITH RECURSIVE lane AS (
  SELECT its.* FROM json_array_elements_text(CAST(:queues AS json)) AS named(queue) CROSS JOIN LATERAL (
    SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_live
    WHERE ready AND queue = named.queue
    ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1) AS its
  UNION ALL
  SELECT following.* FROM lane CROSS JOIN LATERAL (
    SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_live
    WHERE ready AND queue = lane.queue AND (organization_id, job_type) > (lane.organization_id, lane.job_type)
    ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1) AS following
)
SELECT lane.queue, lane.organization_id, lane.job_type, own.status, own.max_running, own.weight,
  lane.priority, lane.run_at, lane.id
FROM lane LEFT JOIN fairlane_organizations AS own ON own.id = lane.organization_id
