-- Lock the quota rows of these subjects that nobody else has locked. A lock each by the key: one condition on a list of
-- pairs would have PostgreSQL overflow its stack at some thousands.
SELECT given.organization_id, given.subject
FROM (SELECT value ->> 0 AS organization_id, value ->> 1 AS subject FROM json_each(:given)) AS given CROSS JOIN LATERAL (
  SELECT FROM fairlane_quotas AS quota
  WHERE quota.organization_id = given.organization_id AND quota.subject = given.subject
  FOR NO KEY UPDATE SKIP LOCKED) AS free
