/** For which jobs there is no worker, in sentences. Pure. */
import type { Schema } from "../../api/client";
import { plural } from "../../ui/format";

type Stranded = Schema["Stranded"];

/** Each cause once, however many types of jobs it concerns. `alive`: how many workers are. */
export function told(items: readonly Stranded[], alive: number): string[] {
  if (alive === 0) return items.length === 0 ? [] : [`No worker is alive: ${waits(items)} until one is started.`];
  const causes = new Map<string, Stranded[]>();
  for (const one of items) {
    const cause = one.queue_is_served
      ? `No worker of queue ${one.queue} can run ${one.job_type}`
      : `No worker serves queue ${one.queue}`;
    causes.set(cause, [...(causes.get(cause) ?? []), one]);
  }
  return [...causes].map(([cause, some]) => {
    const types = some[0]?.queue_is_served ? "" : ` (${some.map(({ job_type }) => job_type).join(", ")})`;
    return `${cause}: ${waits(some)}${types}.`;
  });
}

function waits(items: readonly Stranded[]): string {
  const jobs = items.reduce((sum, { waiting }) => sum + waiting, 0);
  return `${plural(jobs, "job")} ${jobs === 1 ? "waits" : "wait"}`;
}
