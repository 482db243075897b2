-- Lock dead letters below these parents, nearest first. Each parent takes one probe of the index of causes: without
-- statistics the planner prefers to read all undecided dead letters. The decision is checked after the probe, so that
-- the planner can't use the index of decisions. Locked rows are skipped before the batch is full: otherwise they would
-- delay all rows behind them. The locks prove that a dead letter is still undecided: a person may have retried it
-- meanwhile.
WITH RECURSIVE below(job_id, caused_by) AS (
  SELECT id, CAST(NULL AS uuid) FROM fairlane_jobs WHERE organization_id = :organization AND id IN :parents
  UNION
  SELECT letter.job_id, below.job_id FROM below CROSS JOIN LATERAL (
    SELECT job_id, resolution FROM fairlane_dead_letters
    WHERE organization_id = :organization AND caused_by = below.job_id OFFSET 0) AS letter
  WHERE letter.resolution = :undecided
  AND EXISTS (SELECT FROM fairlane_jobs
    WHERE organization_id = :organization AND id = letter.job_id FOR NO KEY UPDATE SKIP LOCKED)
  AND EXISTS (SELECT FROM fairlane_ended
    WHERE organization_id = :organization AND id = letter.job_id FOR UPDATE SKIP LOCKED)
  AND EXISTS (SELECT FROM fairlane_dead_letters
    WHERE organization_id = :organization AND job_id = letter.job_id AND resolution = :undecided
    FOR UPDATE SKIP LOCKED)
  AND NOT EXISTS (SELECT FROM fairlane_job_parents AS edge
    WHERE organization_id = :organization AND job_id = letter.job_id AND NOT EXISTS (SELECT FROM fairlane_job_parents
      WHERE organization_id = :organization AND job_id = edge.job_id AND parent_id = edge.parent_id
      FOR NO KEY UPDATE SKIP LOCKED) OFFSET 0))
SELECT job_id, caused_by,
  (SELECT count(*) FROM fairlane_job_parents WHERE organization_id = :organization AND job_id = below.job_id) AS edges
FROM below WHERE caused_by IS NOT NULL LIMIT :limit
