-- Read what is needed to decide about attempts that still have these lease tokens. LIMIT prevents a join.
SELECT mine.*
FROM (SELECT value ->> 0 AS organization_id, CAST(value ->> 1 AS uuid) AS id, CAST(value ->> 2 AS uuid) AS lease_token
  FROM json_each(:given)) AS given
CROSS JOIN LATERAL (
  SELECT live.lease_token, live.attempt, live.retry_count, live.rescue_count, jobs.max_retries, live.deferrals,
    live.cancel_requested_at, live.cancel_requested_by, live.cancel_reason
  FROM fairlane_live AS live
  JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
  WHERE live.organization_id = given.organization_id AND live.id = given.id AND live.lease_token = given.lease_token
  LIMIT 1) AS mine
