/** For which jobs there is no worker, in sentences. Pure. */
import type { Schema } from "../../api/client";
import { noneAlive, waits } from "../queues/holds";

type Stranded = Schema["Stranded"];

/** Each cause once, however many types of jobs it concerns. `alive`: how many workers are. */
export function told(items: readonly Stranded[], alive: number): string[] {
  if (alive === 0) return items.length === 0 ? [] : [noneAlive(jobsOf(items))];
  const causes = new Map<string, Stranded[]>();
  for (const one of items) {
    const cause = one.queue_is_served
      ? `No worker of queue ${one.queue} can run ${one.job_type}`
      : `No worker serves queue ${one.queue}`;
    causes.set(cause, [...(causes.get(cause) ?? []), one]);
  }
  return [...causes].map(([cause, some]) => {
    const types = some[0]?.queue_is_served ? "" : ` (${some.map(({ job_type }) => job_type).join(", ")})`;
    return `${cause}: ${waits(jobsOf(some))}${types}.`;
  });
}

function jobsOf(items: readonly Stranded[]): number {
  return items.reduce((sum, { waiting }) => sum + waiting, 0);
}
