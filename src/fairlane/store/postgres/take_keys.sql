-- Insert the keys that have no row yet, and return the keys that have one: mostly none. The statement waits for
-- transactions that are inserting one of the keys. The keys are one text: see unnest_texts.
WITH given AS MATERIALIZED (
  SELECT keys.* FROM (SELECT string_to_array(:keys, E'\x1e', '') AS t OFFSET 0) AS p,
    unnest(string_to_array(t[1], E'\n', ''), string_to_array(t[2], E'\n', ''),
      CAST(string_to_array(t[3], E'\n', '') AS uuid[]), CAST(string_to_array(t[4], E'\n', '') AS timestamptz[]))
      AS keys(organization_id, key, job_id, expires_at)
), taken AS MATERIALIZED (
  INSERT INTO fairlane_dedup_keys (organization_id, key, job_id, expires_at)
  SELECT organization_id, key, job_id, expires_at FROM given
  ON CONFLICT DO NOTHING RETURNING organization_id, key
)
SELECT organization_id, key FROM given
WHERE (SELECT count(*) FROM taken) < (SELECT count(*) FROM given)
  AND (organization_id, key) NOT IN (SELECT organization_id, key FROM taken)
