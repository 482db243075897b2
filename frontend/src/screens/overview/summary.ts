/** From the steps of a timeline to the numbers beside its chart. Pure. */
import type { Schema } from "../../api/client";

type Step = Schema["Step"];

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

function sum(steps: readonly Step[], of: (step: Step) => number): number {
  return steps.reduce((total, step) => total + of(step), 0);
}
