import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { accessQuery, type Job } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { useIsOurs } from "../../shell/access";
import { Card, duration, Elapsed, ErrorState, inLocalTime, Mono, Progress, useNow } from "../../ui";
import { endOf } from "./attempts";
import { helpFor } from "./help";
import { explanationQuery } from "./queries";

/** Where the job stands and why: how far it is while it runs, what it waits for while it does not. */
export function Standing({ job }: { job: Job }) {
  const isRunning = job.status === "running";
  const isWaiting = job.status === "pending" || job.status === "queued";
  // No event of this job tells that others left the line, that its queue goes on, or that somebody asked it to stop.
  const every = useRefetch(2) || ((isWaiting || isRunning) && 10_000);
  const found = useQuery({ ...explanationQuery(job.organization, job.id), refetchInterval: every });
  const { data: access } = useQuery(accessQuery(job.organization));
  const place = found.data?.place_in_lane ?? null;
  // How far it is, the bar says, and as of now.
  const reasons = found.data?.reasons.filter(({ code }) => code !== "is_running") ?? [];
  return (
    <Card title={isRunning ? "Progress" : isWaiting ? "Why is it not running?" : "How it ended"}>
      <div className="flex flex-col gap-3">
        {found.error && !found.data && <ErrorState error={found.error} onRetry={() => void found.refetch()} />}
        {isRunning && <Running job={job} isLost={reasons.some(({ code }) => code === "worker_lost")} />}
        {reasons.length > 0 && (
          <ul className="flex flex-col gap-1.5 text-sm" aria-live="polite">
            {reasons.map((reason, index) => (
              <li key={reason.code} className={index === 0 ? "break-words" : "break-words text-muted"}>
                <Sentence text={reason.sentence} job={job} />
                {access?.is_operator && <WhereToHelp code={reason.code} />}
              </li>
            ))}
            {isWaiting && place !== null && (
              <li className="text-muted">
                Place among the {job.job_type} jobs of {job.organization} in queue {job.queue}:{" "}
                {place >= 10_000 ? "10,000 or later" : place.toLocaleString("en")}
              </li>
            )}
          </ul>
        )}
      </div>
    </Card>
  );
}

/** The screen on which an operator does what a sentence says that operators can. */
function WhereToHelp({ code }: { code: string }) {
  const help = helpFor(code, useIsOurs());
  if (!help) return null;
  return (
    <>
      {" "}
      <Link to={help.to} className="whitespace-nowrap text-accent hover:underline">
        {help.label} →
      </Link>
    </>
  );
}

const MARKED = /(`[^`]*`|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/;

/** Commands within a sentence stand in backticks, and parents lead to their pages. */
function Sentence({ text, job }: { text: string; job: Job }) {
  return inLocalTime(text)
    .split(MARKED)
    .map((part, index) => {
      // biome-ignore-start lint/suspicious/noArrayIndexKey: the parts of one text keep their places
      if (part.startsWith("`")) return <Mono key={index}>{part.slice(1, -1)}</Mono>;
      if (!job.depends_on.includes(part)) return part;
      return (
        <Link
          key={index}
          to="/o/$organization/jobs/$job"
          params={{ organization: job.organization, job: part }}
          className="text-accent hover:underline"
        >
          <Mono>{part}</Mono>
        </Link>
      );
      // biome-ignore-end lint/suspicious/noArrayIndexKey: the parts of one text keep their places
    });
}

function Running({ job, isLost }: { job: Job; isLost: boolean }) {
  const now = useNow();
  const end = isLost ? null : endOf(job, Math.max(now, Date.now()));
  return (
    <div className="flex flex-col gap-1.5">
      <Progress percent={job.progress} label={`Progress of ${job.job_type}`} />
      <div className="flex flex-wrap justify-between gap-x-4 gap-y-1 text-sm text-muted">
        <span className="min-w-0 break-words">{job.progress_message ?? "No message yet"}</span>
        <span>
          runs for <Elapsed from={job.started_at} />
          {end?.by === "itself" && ` · about ${duration(Math.round(end.seconds))} left`}
          {end?.by === "timeout" && ` · its timeout ends it in ${duration(Math.round(end.seconds))}`}
        </span>
      </div>
    </div>
  );
}
