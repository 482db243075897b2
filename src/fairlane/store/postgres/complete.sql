-- Complete the jobs of these attempts, whose handlers returned. `finish` handles the jobs that this statement skips.
--
-- One index probe finds each row, and the statement locks it. It skips rows that are locked, or that were changed since
-- the statement began. A cancel request and children are columns of the row, so they can't change under the lock.
--
-- Results refer to the row in fairlane_jobs. If an application has locked that row, the foreign key would wait for it,
-- so the job is skipped. Ids are sent as one text: for an array the driver converts each id separately, at several
-- times the cost.
--
-- The application's login may have inserted a live row for a job that has ended. Then that job's end stays unchanged,
-- and the statement completes the other jobs.
--
-- The search for edges that are not watched yet is in the order of their index. With LIMIT alone the planner may take
-- any index and read all edges, if most edges belonged to one parent at the last ANALYZE.
--
-- The job's new values (target, error_type, error_message) and its log entry (source, target, message) come from
-- domain.transitions.complete.
WITH moment AS MATERIALIZED (
  SELECT coalesce(CAST(:now AS timestamptz), clock_timestamp()) AS now
), place AS MATERIALIZED (
  SELECT its.place
  FROM unnest(CAST(:organizations AS text[]), CAST(string_to_array(:ids, ' ') AS uuid[]),
    CAST(string_to_array(:tokens, ' ') AS uuid[]), CAST(:leave_results AS boolean[]))
    AS given(organization_id, id, lease_token, leaves_result)
  CROSS JOIN LATERAL (
    SELECT ctid AS place FROM fairlane_live AS live
    WHERE live.organization_id = given.organization_id AND live.id = given.id AND live.lease_token = given.lease_token
      AND live.cancel_requested_at IS NULL AND NOT live.has_children
      AND (NOT given.leaves_result OR EXISTS (SELECT FROM fairlane_jobs AS jobs
        WHERE jobs.organization_id = given.organization_id AND jobs.id = given.id FOR KEY SHARE SKIP LOCKED))
    FOR UPDATE SKIP LOCKED) AS its
), live AS (
  DELETE FROM fairlane_live WHERE ctid = ANY(ARRAY(SELECT place FROM place)) RETURNING *
), done AS (
  INSERT INTO fairlane_ended (organization_id, id, queue, job_type, submitted_by, created_at, status, priority, run_at,
    attempt, retry_count, rescue_count, log_sequence, cancel_requested_at, error_type, error_message, started_at,
    finished_at)
  SELECT organization_id, id, queue, job_type, submitted_by, created_at, :target, priority, run_at,
    attempt, retry_count, rescue_count, log_sequence + 1, cancel_requested_at, :error_type, :error_message, started_at,
    moment.now
  FROM live CROSS JOIN moment
  ON CONFLICT (organization_id, id) DO NOTHING
  RETURNING organization_id, id, log_sequence, attempt, finished_at
), logged AS (
  INSERT INTO fairlane_execution_log
    (organization_id, job_id, sequence, from_status, to_status, at, actor, message, attempt)
  SELECT organization_id, id, log_sequence, :source, :target, finished_at, :actor, :message, attempt FROM done
), kept AS (
  INSERT INTO fairlane_results (organization_id, job_id, value, at)
  SELECT done.organization_id, done.id, given.value, done.finished_at
  FROM ROWS FROM (unnest(CAST(:result_organizations AS text[])), unnest(CAST(:result_ids AS uuid[])),
    json_array_elements_text(CAST(:results AS json))) AS given(organization_id, id, value)
  JOIN done ON done.organization_id = given.organization_id AND done.id = given.id
  ON CONFLICT (organization_id, job_id) DO UPDATE SET value = excluded.value, at = excluded.at
)
SELECT organization_id, id, finished_at, child.is_there IS NOT NULL
FROM done LEFT JOIN LATERAL (
  SELECT true AS is_there FROM fairlane_job_parents AS edge
  WHERE edge.organization_id = done.organization_id AND edge.parent_id = done.id
    AND edge.state <> :settled ORDER BY edge.state, edge.job_id LIMIT 1) AS child ON true
