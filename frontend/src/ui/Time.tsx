import { useSyncExternalStore } from "react";
import { duration, exact, relative } from "./format";

const listeners = new Set<() => void>();
let now = Date.now();
let ticking: ReturnType<typeof setInterval> | undefined;

function listen(listener: () => void): () => void {
  listeners.add(listener);
  ticking ??= setInterval(() => {
    now = Date.now();
    for (const one of listeners) one();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(ticking);
      ticking = undefined;
    }
  };
}

/** The time, in milliseconds; whoever uses it is drawn anew each second. One timer for all. */
export function useNow(): number {
  return useSyncExternalStore(listen, () => now);
}

/** A moment as people say it; in full when pointed at. Null: a dash. */
export function Time({ at }: { at: string | null | undefined }) {
  const time = useNow();
  if (!at) return <span className="text-muted">–</span>;
  const date = new Date(at);
  return (
    <time dateTime={at} title={exact(date)} className="whitespace-nowrap">
      {relative(date, Math.max(time, Date.now()))}
    </time>
  );
}

/** How long it took, or takes so far. */
export function Elapsed({ from, to }: { from: string | null | undefined; to?: string | null | undefined }) {
  const time = useNow();
  if (!from) return <span className="text-muted">–</span>;
  const end = to ? new Date(to).getTime() : Math.max(time, Date.now());
  return <span className="whitespace-nowrap">{duration(Math.max(0, end - new Date(from).getTime()) / 1000)}</span>;
}
