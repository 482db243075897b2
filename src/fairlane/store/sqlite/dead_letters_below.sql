-- Find dead letters below these parents, nearest first. Each parent takes one probe of the index of causes: without
-- statistics SQLite prefers to read all undecided dead letters. It reads all children of a parent before it returns the
-- first. The plus prevents the use of another index.
WITH RECURSIVE below(job_id, caused_by) AS (
  SELECT id, NULL FROM fairlane_jobs WHERE organization_id = :organization AND id IN :parents
  UNION
  SELECT letter.job_id, below.job_id FROM below CROSS JOIN fairlane_dead_letters AS letter
    ON +letter.organization_id = :organization AND letter.rowid IN (
      SELECT rowid FROM fairlane_dead_letters INDEXED BY fairlane_dead_letters_cause
      WHERE organization_id = :organization AND caused_by = below.job_id AND resolution = :undecided LIMIT :limit))
SELECT job_id, caused_by,
  (SELECT count(*) FROM fairlane_job_parents WHERE organization_id = :organization AND job_id = below.job_id) AS edges
FROM below WHERE caused_by IS NOT NULL LIMIT :limit
