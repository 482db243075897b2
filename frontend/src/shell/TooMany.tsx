import { useSyncExternalStore } from "react";
import { patience } from "../api/patience";
import { useNow } from "../ui";

/** Says that one asked more often than one may, and when it goes on, which it does by itself. */
export function TooMany() {
  const until = useSyncExternalStore(patience.observe, () => patience.until);
  return Date.now() < until ? <Countdown until={until} /> : null;
}

function Countdown({ until }: { until: number }) {
  const now = useNow();
  const left = Math.ceil((until - Math.max(now, Date.now())) / 1000);
  if (left <= 0) return null;
  return (
    <div className="pointer-events-none fixed inset-x-4 top-14 z-40 flex justify-center">
      <p role="status" className="rounded-full border border-line bg-warn-soft px-4 py-1.5 text-sm text-warn shadow-lg">
        Too many requests
        {/* Told once, and not anew each second. */}
        <span aria-live="off">; again in {left} s</span>
      </p>
    </div>
  );
}
