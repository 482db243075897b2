-- Find all lanes with a ready job, or those of named queues, each with its first job and its organization's standing.
-- The statement uses only one kind of the parts between "all {" or "named {" and "}". Skip scan: one index probe per
-- lane, whatever the backlog. SELECT DISTINCT would read every ready entry. If queues are named, no other queue is
-- probed, so queues that a worker does not serve do not slow it.
WITH RECURSIVE lane AS (
-- all {
  SELECT its.* FROM (VALUES (0)) AS once CROSS JOIN LATERAL (
-- }
-- named {
  SELECT its.* FROM json_array_elements_text(CAST(:queues AS json)) AS named(queue) CROSS JOIN LATERAL (
-- }
    SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_live
    WHERE ready
-- named {
      AND queue = named.queue
-- }
    ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1) AS its
  UNION ALL
  SELECT following.* FROM lane CROSS JOIN LATERAL (
    SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_live
    WHERE ready
-- all {
      AND (queue, organization_id, job_type) > (lane.queue, lane.organization_id, lane.job_type)
-- }
-- named {
      AND queue = lane.queue AND (organization_id, job_type) > (lane.organization_id, lane.job_type)
-- }
    ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1) AS following
)
SELECT lane.queue, lane.organization_id, lane.job_type, own.status, own.max_running, own.weight,
  lane.priority, lane.run_at, lane.id
FROM lane LEFT JOIN fairlane_organizations AS own ON own.id = lane.organization_id
