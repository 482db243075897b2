import { cx } from "./cx";
import { words } from "./format";

/** Colour and sign of each status: the sign tells them apart where colours do not. */
const LOOKS: Record<string, [sign: string, look: string]> = {
  pending: ["◌", "bg-sunken text-muted"],
  queued: ["○", "bg-wait-soft text-wait"],
  retry: ["↻", "bg-wait-soft text-wait"],
  running: ["●", "bg-accent-soft text-accent"],
  completed: ["✓", "bg-good-soft text-good"],
  failed: ["✗", "bg-bad-soft text-bad"],
  timed_out: ["◔", "bg-bad-soft text-bad"],
  dead_letter: ["✗", "bg-bad-soft text-bad"],
  canceled: ["⊘", "bg-sunken text-muted"],
  stopping: ["◐", "bg-warn-soft text-warn"],
  active: ["●", "bg-good-soft text-good"],
  suspended: ["⊘", "bg-bad-soft text-bad"],
  paused: ["‖", "bg-warn-soft text-warn"],
};

/** The status of a job, or of something else that has one. */
export function StatusBadge({ status, label }: { status: string; label?: string }) {
  const [sign, look] = LOOKS[status] ?? ["·", "bg-sunken text-muted"];
  return (
    <span
      className={cx("inline-flex items-center gap-1 rounded px-1.5 py-0.5 text-xs font-medium whitespace-nowrap", look)}
    >
      <span aria-hidden className={cx("leading-none", status === "running" && "animate-pulse")}>
        {sign}
      </span>
      {label ?? words(status)}
    </span>
  );
}

/** A word beside something: a label, a role. It is cut to the room that it has; `whole`: broken into lines instead. */
export function Tag({
  children,
  tone,
  whole = false,
}: {
  children: string;
  tone?: "accent" | "warn" | "bad" | "good";
  whole?: boolean;
}) {
  const tones = {
    accent: "bg-accent-soft text-accent",
    warn: "bg-warn-soft text-warn",
    bad: "bg-bad-soft text-bad",
    good: "bg-good-soft text-good",
  };
  return (
    <span
      className={cx(
        "inline-block max-w-full rounded px-1.5 py-0.5 text-xs",
        whole ? "break-all" : "truncate",
        tone ? tones[tone] : "bg-sunken text-muted",
      )}
    >
      {children}
    </span>
  );
}
