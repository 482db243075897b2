-- Take those of these keys that have no row yet. WHERE true tells SQLite that ON does not begin a join.
INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:given) WHERE true
ON CONFLICT DO NOTHING RETURNING organization_id, key
