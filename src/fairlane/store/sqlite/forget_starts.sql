-- Delete starts that are outside of their subject's window.
DELETE FROM fairlane_starts WHERE id IN (
  SELECT one.id FROM json_each(:given) AS given CROSS JOIN fairlane_starts AS one
  WHERE one.organization_id = given.value ->> 0 AND one.job_type = given.value ->> 1
    AND (one.at <= given.value ->> 2 OR one.at > :now))
