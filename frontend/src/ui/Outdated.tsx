import { Button } from "./Button";
import { cx } from "./cx";
import { ErrorState, sentence } from "./States";
import { Time } from "./Time";

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
      className={cx(
        "flex flex-wrap items-center justify-between gap-x-3 gap-y-1 border-line bg-warn-soft px-4 py-2 text-xs text-warn",
        className,
      )}
    >
      <p className="min-w-0 break-words">
        <span role="alert">Could not be refreshed. {sentence(error)}</span>{" "}
        {/* Beside what is said aloud: it would be said anew each second. */}
        This is how it was <Time at={new Date(dataUpdatedAt).toISOString()} />.
      </p>
      <Button small busy={isFetching} onClick={() => void refetch()}>
        Try again
      </Button>
    </div>
  );
}

/** What went wrong with a question whose answer is drawn by something else than a table; nothing while all is well. */
export function Trouble({ source, className }: { source: Source; className?: string }) {
  if (!source.error) return null;
  if (source.dataUpdatedAt === 0) return <ErrorState error={source.error} onRetry={() => void source.refetch()} />;
  return <Outdated source={source} className={cx("rounded-lg border", className)} />;
}
