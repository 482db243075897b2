import { Link } from "@tanstack/react-router";
import type { JobItem } from "../../api/queries";
import { type Column, Elapsed, Progress, StatusBadge, short, Tag, Time } from "../../ui";

export function columns(organization: string): Column<JobItem>[] {
  return [
    { head: "Status", cell: (job) => <StatusBadge status={isStopping(job) ? "stopping" : job.status} /> },
    {
      head: "Job",
      wide: true,
      cell: (job) => (
        <div className="min-w-40">
          <Link
            to="/o/$organization/jobs/$job"
            params={{ organization, job: job.id }}
            title={job.id}
            className="font-medium hover:underline"
          >
            {job.job_type} <span className="font-mono text-xs font-normal text-muted">{short(job.id)}</span>
          </Link>
          <Told job={job} />
        </div>
      ),
    },
    {
      head: "User",
      from: "md",
      cell: (job) => (
        <span className="block max-w-32 truncate">{job.user ?? <em className="text-muted">system</em>}</span>
      ),
    },
    { head: "Queue", from: "lg", cell: (job) => <span className="block max-w-32 truncate">{job.queue}</span> },
    {
      head: "Labels",
      from: "lg",
      cell: (job) => (
        <span className="flex max-w-48 gap-1 overflow-hidden">
          {Object.entries(job.labels)
            .slice(0, 2)
            .map(([name, value]) => (
              <Tag key={name}>{`${name}=${value}`}</Tag>
            ))}
        </span>
      ),
    },
    { head: "Took", from: "sm", right: true, cell: (job) => <Took job={job} /> },
    { head: "Submitted", from: "sm", right: true, cell: (job) => <Time at={job.created_at} /> },
  ];
}

/** Below its name: how far it is, or why it failed. */
function Told({ job }: { job: JobItem }) {
  if (job.status === "running") {
    return (
      <div className="mt-1 max-w-80">
        <Progress percent={job.progress} label={`Progress of ${short(job.id)}`} />
        {job.progress_message && <p className="truncate text-xs text-muted">{job.progress_message}</p>}
      </div>
    );
  }
  const error = job.status === "completed" ? null : job.error_type;
  return error ? (
    <p className="truncate text-xs text-bad">{job.error_message ? `${error}: ${job.error_message}` : error}</p>
  ) : null;
}

/** Of a job that waits again nobody knows how long its last attempt took. */
function Took({ job }: { job: JobItem }) {
  if (job.status !== "running" && job.finished_at === null) return <span className="text-muted">–</span>;
  return <Elapsed from={job.started_at} to={job.finished_at} />;
}

function isStopping(job: JobItem): boolean {
  return job.status === "running" && job.cancel_requested_at !== null;
}
