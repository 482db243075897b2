import type { ReactNode } from "react";
import { Problem } from "../api/problem";
import { Button } from "./Button";
import { cx } from "./cx";

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

/** What a warning looks like above what it warns of. */
export const BANNER = "rounded-lg border border-line bg-warn-soft px-4 py-3 text-sm text-warn";

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
