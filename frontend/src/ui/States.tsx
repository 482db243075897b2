import type { ReactNode } from "react";
import { Problem } from "../api/problem";
import { Button } from "./Button";
import { cx } from "./cx";
import { Time } from "./Time";

/** There is nothing, and what to do about it. */
export function EmptyState({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="flex flex-col items-center gap-2 px-6 py-10 text-center">
      <p className="font-medium">{title}</p>
      {children && <div className="max-w-prose text-sm text-muted">{children}</div>}
      {action && <div className="mt-1">{action}</div>}
    </div>
  );
}

/** What went wrong, in the sentence that the server said. */
export function ErrorState({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  return (
    <div
      role="alert"
      className="m-4 flex flex-wrap items-center justify-between gap-3 rounded-md bg-bad-soft px-4 py-3 text-sm text-bad"
    >
      <p className="min-w-0 break-words">{sentence(error)}</p>
      {onRetry && (
        <Button small onClick={onRetry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** What was asked for, as far as one is told whether it is fresh: an answer of TanStack Query. */
export interface Source {
  error: unknown;
  /** When it came, in milliseconds; 0: not yet. */
  dataUpdatedAt: number;
  isFetching: boolean;
  refetch: () => unknown;
}

/** Above what is still shown though it could not be refreshed: from when it is, and why; else nothing. */
export function Outdated({ source, className = "border-b" }: { source: Source; className?: string }) {
  const { error, dataUpdatedAt, isFetching, refetch } = source;
  if (!error || dataUpdatedAt === 0) return null;
  return (
    <div
      role="alert"
      className={cx(
        "flex flex-wrap items-center justify-between gap-x-3 gap-y-1 border-line bg-warn-soft px-4 py-2 text-xs text-warn",
        className,
      )}
    >
      <p className="min-w-0 break-words">
        This is from <Time at={new Date(dataUpdatedAt).toISOString()} /> and could not be refreshed. {sentence(error)}
      </p>
      <Button small busy={isFetching} onClick={() => void refetch()}>
        Try again
      </Button>
    </div>
  );
}

export function sentence(error: unknown): string {
  if (error instanceof Problem) return error.detail;
  return error instanceof Error ? error.message : String(error);
}

const WIDTHS = [92, 75, 58, 81, 64, 87, 70, 53]; // percent, each of them another

/** A place in which something will be: as many lines as will come, eight at most. */
export function Skeleton({ rows = 3, className }: { rows?: number; className?: string }) {
  return (
    <div role="status" aria-label="Loading" className={cx("flex flex-col gap-3 p-4", className)}>
      {WIDTHS.slice(0, rows).map((width) => (
        <div key={width} className="h-4 animate-pulse rounded bg-sunken" style={{ width: `${width}%` }} />
      ))}
    </div>
  );
}
