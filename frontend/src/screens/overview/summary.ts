/** From what the server counted to the numbers of the overview. Pure. */
import type { Schema } from "../../api/client";
import { count, duration } from "../../ui/format";

type Step = Schema["TimelineStep"];
type Counted = Pick<Schema["Metrics"], "jobs_by_status" | "queue_depth_by_priority" | "oldest_queued_seconds">;

export interface Summary {
  completed: number;
  failed: number;
  /** Of all attempts that ended; null: none did. */
  failureRate: number | null;
}

export function summaryOf(steps: readonly Step[]): Summary {
  const completed = sum(steps, (step) => step.completed);
  const failed = sum(steps, (step) => step.failed);
  const ended = completed + failed;
  return { completed, failed, failureRate: ended > 0 ? failed / ended : null };
}

/** How long the oldest ready job has waited, and how many queued jobs are not ready: these wait for their retry. */
export function waitOf(counted: Counted): { value: string; hint: string } {
  const oldest = counted.oldest_queued_seconds;
  const ready = Object.values(counted.queue_depth_by_priority).reduce((total, one) => total + one, 0);
  const retrying = Math.max((counted.jobs_by_status.queued ?? 0) - ready, 0);
  const hints = [
    (oldest !== null || retrying === 0) && "of ready jobs",
    retrying > 0 && `${count(retrying)} ${retrying === 1 ? "waits" : "wait"} for a retry`,
  ];
  return { value: oldest === null ? "none" : duration(oldest), hint: hints.filter(Boolean).join("; ") };
}

function sum(steps: readonly Step[], of: (step: Step) => number): number {
  return steps.reduce((total, step) => total + of(step), 0);
}
