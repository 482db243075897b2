-- Find the live rows of quick completions, and which of them have a child that must be settled. SQLite's write
-- transaction is exclusive, so no locks are needed, and rowids stay valid. The answer is one row of JSON: Python's
-- SQLite module releases the interpreter's lock at each row, and waits for it again while the worker's loop is busy.
SELECT json_group_array(json_array(given.key, live.rowid, EXISTS (
  SELECT 1 FROM fairlane_job_parents AS edge
  WHERE edge.organization_id = live.organization_id AND edge.parent_id = live.id AND edge.state <> :settled)))
FROM json_each(:given) AS given JOIN fairlane_live AS live
  ON live.organization_id = given.value ->> 0 AND live.id = given.value ->> 1 AND live.lease_token = given.value ->> 2
WHERE live.cancel_requested_at IS NULL AND NOT live.has_children
