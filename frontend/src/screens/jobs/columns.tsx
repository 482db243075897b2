import { Fragment } from "react";
import type { ListedJob } from "../../api/queries";
import { JobLink } from "../../shell/JobLink";
import { type Column, cx, Elapsed, Progress, short, Tag, Time, useNow } from "../../ui";
import { JobBadge } from "./JobBadge";
import { isWaiting, waitsOf } from "./waits";

/** What is told of jobs; of those that are gone from the page, by their ids, only what does not change. */
export function columnsOf(gone: ReadonlySet<string>): Column<ListedJob>[] {
  return [
    { head: "Status", cell: (job) => (gone.has(job.id) ? <Gone /> : <JobBadge job={job} />) },
    {
      head: "Job",
      wide: true,
      cell: (job) => (
        <div className="min-w-40">
          <JobLink job={job} />
          {/* Hidden and not gone: the rows below it would move. */}
          <div className={cx(gone.has(job.id) && "invisible")}>
            <Told job={job} />
          </div>
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
      cell: (job) => <Labels labels={Object.entries(job.labels).map(([name, value]) => `${name}=${value}`)} />,
    },
    { head: "Took", from: "sm", right: true, cell: (job) => (gone.has(job.id) ? <Unknown /> : <Took job={job} />) },
    { head: "Submitted", from: "sm", right: true, cell: (job) => <Time at={job.created_at} /> },
  ];
}

function Gone() {
  return (
    <span title="It is no longer on this page of the list. Open it to see how it stands.">
      <Tag>moved on</Tag>
    </span>
  );
}

function Unknown() {
  return <span className="text-muted">–</span>;
}

/** The first two; all of them when pointed at. */
function Labels({ labels }: { labels: readonly string[] }) {
  return (
    <span title={labels.join("\n")} className="flex max-w-56 flex-col items-start gap-1">
      {labels.slice(0, 2).map((label) => (
        <Tag key={label}>{label}</Tag>
      ))}
      {labels.length > 2 && <span className="text-xs text-muted">+{labels.length - 2}</span>}
    </span>
  );
}

/** Below its name: how far it is, why it waits, why it failed. */
function Told({ job }: { job: ListedJob }) {
  if (job.status === "running") {
    return (
      <div className="mt-1 max-w-80">
        <Progress percent={job.progress} label={`Progress of ${short(job.id)}`} />
        {job.progress_message && <p className="truncate text-xs text-muted">{job.progress_message}</p>}
      </div>
    );
  }
  const error = job.status === "completed" ? null : job.error_type;
  return (
    <>
      {isWaiting(job) && <Waits job={job} />}
      {error && (
        <p className="truncate text-xs text-bad">{job.error_message ? `${error}: ${job.error_message}` : error}</p>
      )}
    </>
  );
}

function Waits({ job }: { job: ListedJob }) {
  const waits = waitsOf(job, Math.max(useNow(), Date.now()));
  if (waits.length === 0) return null;
  return (
    <p className="text-xs break-words whitespace-normal text-muted">
      {waits.map(({ text, at }, index) => (
        <Fragment key={text}>
          {index > 0 && " · "}
          {text} {at && <Time at={at} />}
        </Fragment>
      ))}
    </p>
  );
}

/** Of a job that waits again nobody knows how long its last attempt took. */
function Took({ job }: { job: ListedJob }) {
  if (job.status !== "running" && job.finished_at === null) return <Unknown />;
  return <Elapsed from={job.started_at} to={job.finished_at} />;
}
