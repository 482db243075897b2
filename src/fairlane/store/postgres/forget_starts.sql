-- Delete starts outside their subject's window, by key: for a join the planner could read all starts. LIMIT keeps the
-- claim short.
DELETE FROM fairlane_starts WHERE id = ANY(ARRAY(
  SELECT old.id
  FROM (SELECT value ->> 0 AS organization_id, value ->> 1 AS job_type, CAST(value ->> 2 AS timestamptz) AS since
    FROM json_each(:given)) AS given
  CROSS JOIN LATERAL (
    SELECT id FROM fairlane_starts AS one
    WHERE one.organization_id = given.organization_id AND one.job_type = given.job_type
      AND (one.at <= given.since OR one.at > CAST(:now AS timestamptz))
    ORDER BY one.at LIMIT 100) AS old))
