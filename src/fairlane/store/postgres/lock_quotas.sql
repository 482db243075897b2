-- Lock the quota rows of these subjects, each by its key, and skip rows that another session has locked. A single
-- condition on a list of some thousand pairs overflows PostgreSQL's stack.
SELECT given.organization_id, given.subject
FROM (SELECT value ->> 0 AS organization_id, value ->> 1 AS subject FROM json_each(:given)) AS given CROSS JOIN LATERAL (
  SELECT FROM fairlane_quotas AS quota
  WHERE quota.organization_id = given.organization_id AND quota.subject = given.subject
  FOR NO KEY UPDATE SKIP LOCKED) AS free
