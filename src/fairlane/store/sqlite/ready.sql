-- Find the most urgent ready jobs of each lane, for all lanes with the same limit, as LIMIT can't depend on the lane.
-- No lane is read beyond its limit.
SELECT json_group_array(json_array(lane.key, job.priority, job.run_at, job.id, job.rowid))
FROM json_each(:lanes) AS lane JOIN fairlane_live AS job ON job.rowid IN (
  SELECT one.rowid FROM fairlane_live AS one
  WHERE one.ready = 1 AND one.queue = lane.value ->> 0 AND one.organization_id = lane.value ->> 1
    AND one.job_type = lane.value ->> 2
  ORDER BY one.priority, one.run_at, one.id LIMIT :limit)
