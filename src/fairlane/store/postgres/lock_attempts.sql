-- Lock the live rows of attempts that still have these lease tokens. LATERAL makes the planner probe the index for each
-- row, whatever the statistics say. There is no condition on the status: only running jobs have a lease token, and the
-- planner might use another index. Locked rows are skipped, so that they delay no other row. The rows of fairlane_jobs
-- are locked, too: errors and dead letters refer to them. If an application has locked such a row, the foreign key of
-- an error would wait for it.
SELECT mine.lease_token
FROM (SELECT value ->> 0 AS organization_id, CAST(value ->> 1 AS uuid) AS id, CAST(value ->> 2 AS uuid) AS lease_token
  FROM json_each(:given)) AS given
CROSS JOIN LATERAL (
  SELECT live.lease_token FROM fairlane_live AS live
  JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
  WHERE live.organization_id = given.organization_id AND live.id = given.id AND live.lease_token = given.lease_token
  FOR NO KEY UPDATE OF live SKIP LOCKED FOR KEY SHARE OF jobs SKIP LOCKED) AS mine
