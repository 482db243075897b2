import type { JobItem } from "../../api/queries";
import { exact, relative, StatusBadge, useNow } from "../../ui";
import { waitsForRetry } from "./waits";

/** The status of a job; of one that waits for its next attempt when that is, of one that was asked to stop that it stops. */
export function JobBadge({ job }: { job: JobItem }) {
  if (job.status === "queued" && job.next_retry_at !== null) return <Retry job={job} at={job.next_retry_at} />;
  const isStopping = job.status === "running" && job.cancel_requested_at !== null;
  return <StatusBadge status={isStopping ? "stopping" : job.status} />;
}

/** Apart, so that only what waits for a time is drawn anew each second. */
function Retry({ job, at }: { job: JobItem; at: string }) {
  const now = Math.max(useNow(), Date.now());
  if (!waitsForRetry(job, now)) return <StatusBadge status={job.status} />;
  const due = new Date(at);
  return (
    <span title={`Queued; its next attempt is due at ${exact(due)}`}>
      <StatusBadge status="retry" label={`again ${relative(due, now)}`} />
    </span>
  );
}
