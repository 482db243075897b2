-- Lock the live rows of attempts that still have these leases. LATERAL makes the planner probe the index for each row,
-- whatever the statistics say. Only running jobs have a token; a condition on the status would tempt the planner to use
-- another index. A locked row must not hold up the others. A host may lock the facts, which errors and dead letters
-- refer to, and their foreign keys would wait for it.
SELECT mine.lease_token
FROM (SELECT value ->> 0 AS organization_id, CAST(value ->> 1 AS uuid) AS id, CAST(value ->> 2 AS uuid) AS lease_token
  FROM json_each(:given)) AS given
CROSS JOIN LATERAL (
  SELECT live.lease_token FROM fairlane_live AS live
  JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
  WHERE live.organization_id = given.organization_id AND live.id = given.id AND live.lease_token = given.lease_token
  FOR NO KEY UPDATE OF live SKIP LOCKED FOR KEY SHARE OF jobs SKIP LOCKED) AS mine
