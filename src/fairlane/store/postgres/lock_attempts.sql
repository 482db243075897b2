-- Lock the live rows of attempts that have these leases still.
-- Every row by an index probe of its own: LATERAL leaves the planner no other way, whatever the statistics say. The
-- token is there while the job runs and no longer; the status beside it would tempt the planner into another index. A
-- row that somebody holds must not hold up the others. A host may hold the facts, which errors and dead letters refer
-- to: their foreign keys would wait for it.
SELECT mine.lease_token
FROM (SELECT value ->> 0 AS organization_id, CAST(value ->> 1 AS uuid) AS id, CAST(value ->> 2 AS uuid) AS lease_token
  FROM json_each(:given)) AS given
CROSS JOIN LATERAL (
  SELECT live.lease_token FROM fairlane_live AS live
  JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
  WHERE live.organization_id = given.organization_id AND live.id = given.id AND live.lease_token = given.lease_token
  FOR NO KEY UPDATE OF live SKIP LOCKED FOR KEY SHARE OF jobs SKIP LOCKED) AS mine
