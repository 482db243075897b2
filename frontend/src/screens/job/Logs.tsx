import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Fragment, useLayoutEffect, useRef } from "react";
import type { Schema } from "../../api/client";
import type { Job } from "../../api/queries";
import { Card, CopyButton, cx, ErrorState, exact, plural, Skeleton, timeOfDay } from "../../ui";
import { firstLineOf } from "./attempts";
import { Hidden } from "./Failure";
import { linesQuery } from "./queries";

const SHOWN = 2_000; // lines; more make a browser slow
const LOOK = 1_000; // milliseconds between two looks while the job runs
const TONES: Record<string, string> = {
  warning: "text-warn",
  error: "text-bad",
  critical: "text-bad",
  debug: "text-muted",
};

/** What the handler wrote, as it writes it. */
export function Logs({ job }: { job: Job }) {
  const queries = useQueryClient();
  const isRunning = job.status === "running";
  const { data, error, refetch } = useQuery({
    ...linesQuery(queries, job.organization, job.id),
    refetchInterval: isRunning ? LOOK : false,
  });
  const all = data?.lines ?? [];
  const isEmpty = data?.hidden ? job.attempt === 0 : data && all.length === 0;
  if (isEmpty && !isRunning) return null;
  return (
    <Card
      title="Log"
      flush
      actions={
        all.length > 0 && (
          <>
            <span className="text-xs text-muted">{plural(all.length, "line")}</span>
            <CopyButton label="Copy all" text={() => all.map(({ at, message }) => `${at} ${message}`).join("\n")} />
          </>
        )
      }
    >
      {error && !data && <ErrorState error={error} onRetry={() => void refetch()} />}
      {!data && !error && <Skeleton rows={3} />}
      {data?.hidden && (
        <div className="p-4">
          <Hidden what="What it wrote" />
        </div>
      )}
      {isEmpty && <p className="p-4 text-sm text-muted">It has written nothing yet.</p>}
      {all.length > 0 && <Scroll lines={all} />}
    </Card>
  );
}

function Scroll({ lines }: { lines: readonly Schema["LogLine"][] }) {
  const box = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: with each new line the end moves
  useLayoutEffect(() => {
    if (box.current && isAtEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines.length]);
  const shown = lines.slice(-SHOWN);
  const left = lines.length - shown.length;
  return (
    <div
      ref={box}
      role="log"
      aria-label="Log lines"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
      tabIndex={0}
      onScroll={({ currentTarget: at }) => {
        isAtEnd.current = at.scrollHeight - at.scrollTop - at.clientHeight < 24;
      }}
      className="max-h-96 overflow-auto bg-sunken px-4 py-3 font-mono text-xs leading-relaxed"
    >
      {left > 0 && (
        <p className="text-muted">{plural(left, "earlier line")} not shown; all are copied by the button above.</p>
      )}
      {shown.map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have no other name, and are only ever added to
        <Fragment key={left + index}>
          {line.attempt !== shown[index - 1]?.attempt && (
            <p className="mt-2 border-b border-line pb-0.5 text-muted first:mt-0">
              Attempt {line.attempt} · {exact(new Date(firstLineOf(line.attempt, lines)?.at ?? line.at))}
            </p>
          )}
          <div className="flex gap-3">
            <time dateTime={line.at} title={exact(new Date(line.at))} className="shrink-0 text-muted">
              {timeOfDay(new Date(line.at))}
            </time>
            <span className={cx("min-w-0 break-words whitespace-pre-wrap", TONES[line.level])}>{line.message}</span>
          </div>
        </Fragment>
      ))}
    </div>
  );
}
