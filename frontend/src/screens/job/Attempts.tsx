import { useQuery } from "@tanstack/react-query";
import type { Job } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { Card, cx, Elapsed, ErrorState, inLocalTime, Skeleton, StatusBadge, Time } from "../../ui";
import { type Attempt, attemptsOf } from "./attempts";
import { historyQuery } from "./queries";

/** Each attempt: who ran it, for how long, and what it came to. */
export function Attempts({ job }: { job: Job }) {
  const found = useQuery({ ...historyQuery(job.organization, job.id), refetchInterval: useRefetch() });
  const { data, error } = found;
  const attempts = data ? attemptsOf(data.items).reverse() : undefined;
  if (attempts?.length === 0) return null;
  return (
    <Card title="Attempts">
      {error && !data && <ErrorState error={error} onRetry={() => void found.refetch()} />}
      {attempts ? (
        <ol className="flex flex-col">
          {attempts.map((attempt) => (
            <Line key={`${attempt.number} ${attempt.startedAt}`} attempt={attempt} />
          ))}
        </ol>
      ) : (
        !error && <Skeleton rows={2} className="p-0" />
      )}
    </Card>
  );
}

const DOTS: Record<string, string> = {
  completed: "bg-good",
  failed: "bg-bad",
  timed_out: "bg-bad",
  dead_letter: "bg-bad",
  running: "bg-accent-strong",
};

function Line({ attempt }: { attempt: Attempt }) {
  const outcome = attempt.outcome ?? "running";
  return (
    <li className="group relative flex gap-3 pb-4 last:pb-0">
      <span aria-hidden className="relative flex w-3 shrink-0 justify-center">
        <span className="absolute top-3 bottom-[-0.5rem] w-px bg-line group-last:hidden" />
        <span className={cx("mt-1.5 size-2.5 rounded-full", DOTS[outcome] ?? "bg-edge")} />
      </span>
      <div className="min-w-0 flex-1 text-sm">
        <div className="flex flex-wrap items-center gap-x-2 gap-y-1">
          <span className="font-medium">Attempt {attempt.number}</span>
          <StatusBadge status={outcome} />
          <span className="text-muted">
            <Elapsed from={attempt.startedAt} to={attempt.endedAt} /> · started <Time at={attempt.startedAt} />
          </span>
        </div>
        <p className="break-words text-muted">
          {attempt.worker}
          {attempt.message && ` — ${inLocalTime(attempt.message)}`}
        </p>
      </div>
    </li>
  );
}
