-- Store the handlers' return values. WHERE true tells SQLite that ON does not begin a join.
INSERT INTO fairlane_results (organization_id, job_id, value, at)
SELECT given.value ->> 0, given.value ->> 1, given.value ->> 2, :now FROM json_each(:given) AS given WHERE true
ON CONFLICT (organization_id, job_id) DO UPDATE SET value = excluded.value, at = excluded.at
