-- Read what is needed to decide about attempts that still have these lease tokens.
SELECT live.lease_token, live.attempt, live.retry_count, live.rescue_count, jobs.max_retries, live.deferrals,
  live.cancel_requested_at, live.cancel_requested_by, live.cancel_reason
FROM json_each(:given) AS given JOIN fairlane_live AS live ON live.organization_id = given.value ->> 0
  AND live.id = given.value ->> 1 AND live.lease_token = given.value ->> 2
JOIN fairlane_jobs AS jobs ON jobs.organization_id = live.organization_id AND jobs.id = live.id
