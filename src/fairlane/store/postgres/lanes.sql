-- Find all lanes with a ready job, each with its first one, and how its organization stands.
-- Skip scan: one index probe per lane, whatever the backlog. SELECT DISTINCT would read every ready entry.
WITH RECURSIVE lane AS (
  SELECT its.* FROM (VALUES (0)) AS once CROSS JOIN LATERAL (
    SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_live
    WHERE ready
    ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1) AS its
  UNION ALL
  SELECT following.* FROM lane CROSS JOIN LATERAL (
    SELECT queue, organization_id, job_type, priority, run_at, id FROM fairlane_live
    WHERE ready AND (queue, organization_id, job_type) > (lane.queue, lane.organization_id, lane.job_type)
    ORDER BY queue, organization_id, job_type, priority, run_at, id LIMIT 1) AS following
)
SELECT lane.queue, lane.organization_id, lane.job_type, own.status, own.max_running, own.weight,
  lane.priority, lane.run_at, lane.id
FROM lane LEFT JOIN fairlane_organizations AS own ON own.id = lane.organization_id
