/** What keeps the jobs of queues from starting, in words. Pure. */
import type { Schema } from "../../api/client";
import { plural, someOf } from "../../ui/format";

type Queue = Pick<Schema["QueueView"], "queue" | "holds">;
type Hold = Schema["QueueHold"];

/** Why, as it stands beside a queue's name; of a pause of the queue itself its own line says more. */
const WHY: Partial<Record<Hold["code"], (types: string) => string>> = {
  no_worker: () => "no worker is alive",
  no_worker_for_queue: () => "no worker serves it",
  no_worker_for_job_type: (types) => `no worker can run ${types}`,
  workers_stopping: () => "its workers are stopping",
  no_worker_with_key: () => "no worker can decrypt them",
  breaker_open: (types) => `too much of ${types} failed`,
  job_type_paused: (types) => `${types} is paused`,
  organization_paused: () => "the organization is paused",
};

/** What keeps some of a queue's jobs, and how many. */
export function remarks({ holds }: Queue): string[] {
  return holds.flatMap(({ code, jobs, job_types }) => {
    const why = WHY[code]?.(someOf(job_types, NAMED));
    return why === undefined ? [] : [`${plural(jobs, "job")} can't start: ${why}`];
  });
}

/** For which jobs there is no worker, in sentences; one for all queues where none is alive. */
export function withoutWorker(queues: readonly Queue[]): string[] {
  const held = queues.flatMap(({ queue, holds }) => holds.map((hold) => ({ queue, ...hold })));
  const none = held.filter(({ code }) => code === "no_worker").reduce((sum, { jobs }) => sum + jobs, 0);
  if (none > 0) return [noneAlive(none)];
  return held.flatMap(({ queue, code, jobs, job_types }) => {
    const missing = MISSING[code]?.(queue, someOf(job_types, NAMED));
    return missing === undefined ? [] : [`${missing}: ${waits(jobs)} until such a one is started.`];
  });
}

const MISSING: Partial<Record<Hold["code"], (queue: string, types: string) => string>> = {
  no_worker_for_queue: (queue) => `No worker serves queue ${queue}`,
  no_worker_for_job_type: (queue, types) => `No worker of queue ${queue} can run ${types}`,
  workers_stopping: (queue, types) => `No worker goes on with ${types} in queue ${queue}`,
  no_worker_with_key: (queue) => `No worker of queue ${queue} can decrypt this organization's jobs`,
};

const NAMED = 3; // types, and how many more

/** For how many jobs there is no worker, as none is alive. */
export function noneAlive(jobs: number): string {
  return `No worker is alive: ${waits(jobs)} until one is started.`;
}

/** So many jobs, and that they wait. */
export function waits(jobs: number): string {
  return `${plural(jobs, "job")} ${jobs === 1 ? "waits" : "wait"}`;
}
