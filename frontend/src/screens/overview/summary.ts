/** From the steps of a timeline to the numbers beside its chart. Pure. */
import type { Schema } from "../../api/client";

type Step = Schema["Step"];

export interface Summary {
  completed: number;
  failed: number;
  /** Of all attempts that ended; null: none did. */
  failureRate: number | null;
  waitP50: number | null;
  waitP95: number | null;
  runP50: number | null;
  runP95: number | null;
}

export function summaryOf(steps: readonly Step[]): Summary {
  const completed = sum(steps, (step) => step.completed);
  const failed = sum(steps, (step) => step.failed);
  const ended = completed + failed;
  return {
    completed,
    failed,
    failureRate: ended > 0 ? failed / ended : null,
    waitP50: typical(steps, (step) => step.wait_p50),
    waitP95: typical(steps, (step) => step.wait_p95),
    runP50: typical(steps, (step) => step.run_p50),
    runP95: typical(steps, (step) => step.run_p95),
  };
}

function sum(steps: readonly Step[], of: (step: Step) => number): number {
  return steps.reduce((total, step) => total + of(step), 0);
}

/** Percentiles of steps can't be added up; the mean of theirs, each weighed by what ended in it, is close. */
function typical(steps: readonly Step[], of: (step: Step) => number | null): number | null {
  let total = 0;
  let weight = 0;
  for (const step of steps) {
    const value = of(step);
    if (value === null) continue;
    const ended = Math.max(step.completed + step.failed, 1);
    total += value * ended;
    weight += ended;
  }
  return weight > 0 ? total / weight : null;
}
