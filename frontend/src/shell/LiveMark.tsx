import { useSyncExternalStore } from "react";
import { live } from "../live/client";
import { usePhase } from "../live/hooks";
import type { Phase } from "../live/phase";
import { cx, roughly, useNow } from "../ui";

const TOLD: Record<Phase, { word: string; dot: string; hint?: string }> = {
  connecting: { word: "Connecting", dot: "bg-warn", hint: "The live connection is being made." },
  live: { word: "Live", dot: "bg-good" },
  "catching up": {
    word: "Catching up",
    dot: "bg-warn animate-pulse",
    hint: "The connection was lost, or the server is behind; the missed events are on their way.",
  },
  polling: {
    word: "Polling",
    dot: "bg-bad",
    hint: "Not all changes come by themselves now, so the server is asked every 5 seconds.",
  },
};

const UNANSWERED: (typeof TOLD)[Phase] = {
  word: "No answer",
  dot: "bg-bad",
  hint: "The server does not answer. It is asked again, and what is shown here is as it was then.",
};

/** Where there is a live connection: what comes by it, and what is asked for. */
const LIVE = {
  organization:
    "What happens to jobs appears as it happens. Schedules and circuit breakers are asked for every 10 to 30 seconds; members, tokens, settings and the audit when you come back to them.",
  operator:
    "Numbers are asked for every 5 to 30 seconds; organizations, job types, users, tokens and the audit when you come back to them.",
} as const;

/** In the header: how fresh what is shown is. */
export function LiveMark({ of }: { of: keyof typeof LIVE }) {
  const phase = usePhase();
  const now = useNow();
  const heardAt = useSyncExternalStore(live.observe, () => live.heardAt);
  const age = Math.max(0, Math.max(now, Date.now()) - heardAt) / 1000;
  const isUnanswered = useSyncExternalStore(live.observe, () => live.isUnanswered);
  const { word, dot, hint } = isUnanswered ? UNANSWERED : TOLD[phase];
  return (
    <span
      title={hint ?? LIVE[of]}
      className="inline-flex items-center gap-1.5 text-xs whitespace-nowrap text-muted"
      data-phase={phase}
    >
      <span aria-hidden className={cx("size-2 rounded-full", dot)} />
      <span aria-live="polite">{word}</span>
      {isUnanswered ? (
        <span>for {roughly(age)}</span>
      ) : (
        <span>
          · {age < 2 ? "now" : roughly(age)}
          {age >= 2 && <span className="hidden sm:inline"> old</span>}
        </span>
      )}
    </span>
  );
}
