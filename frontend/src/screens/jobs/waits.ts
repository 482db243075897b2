/** Why a job waits, as far as its row in a list tells; its own page tells the rest. Pure. */
import type { ListedJob } from "../../api/queries";

/** A few words, and a moment that belongs to them. */
export interface Wait {
  text: string;
  at?: string;
}

type Waiting = Pick<ListedJob, "status" | "job_type" | "queue" | "depends_on" | "run_at" | "next_retry_at" | "held_by">;
type Code = NonNullable<ListedJob["held_by"]>;

/** Whether it has not begun, or waits to go on. */
export function isWaiting({ status }: Pick<ListedJob, "status">): boolean {
  return status === "pending" || status === "queued";
}

/** Whether a queued job waits for the time of its retry. `now` in milliseconds. */
export function waitsForRetry({ status, next_retry_at }: Pick<Waiting, "status" | "next_retry_at">, now: number) {
  return status === "queued" && next_retry_at !== null && Date.parse(next_retry_at) > now;
}

/**
 * What it waits for itself, then what holds it and others back. Its badge tells of a retry. `now` in milliseconds.
 */
export function waitsOf(job: Waiting, now: number): Wait[] {
  if (!isWaiting(job)) return [];
  const found = [own(job, now), held(job)].filter((wait) => wait !== null);
  return found.length > 0 || job.status === "pending" || waitsForRetry(job, now) ? found : [{ text: "waits its turn" }];
}

function own(job: Waiting, now: number): Wait | null {
  const { status, run_at, depends_on } = job;
  if (status === "queued") return null;
  if (Date.parse(run_at) > now) return { text: "due", at: run_at };
  if (depends_on.length === 0) return null;
  return { text: depends_on.length === 1 ? "waits for its parent" : "waits for its parents" };
}

/** Of each kind of hold the words; of one that is not there, its name. */
const HELD: Partial<Record<Code, (job: Waiting) => string>> = {
  maintenance: () => "maintenance mode is on",
  organization_suspended: () => "the organization is suspended",
  organization_paused: () => "the organization is paused",
  job_type_paused: ({ job_type }) => `${job_type} is paused`,
  queue_paused: ({ queue }) => `queue ${queue} is paused`,
  organization_max_running: () => "the organization may run none",
  job_type_max_running: ({ job_type }) => `no ${job_type} may run`,
  job_type_max_running_in_organization: ({ job_type }) => `no ${job_type} may run here`,
  job_type_execution_rate: ({ job_type }) => `no ${job_type} may start`,
  job_type_execution_rate_in_organization: ({ job_type }) => `no ${job_type} may start here`,
  breaker_open: ({ job_type }) => `too much of ${job_type} failed`,
  no_worker: () => "no worker is alive",
  no_worker_for_queue: ({ queue }) => `no worker serves queue ${queue}`,
  no_worker_for_job_type: ({ job_type }) => `no worker can run ${job_type}`,
  workers_stopping: () => "its workers are stopping",
  no_worker_with_key: () => "no worker can decrypt it",
};

function held(job: Waiting): Wait | null {
  if (job.held_by === null) return null;
  return { text: HELD[job.held_by]?.(job) ?? job.held_by.replaceAll("_", " ") };
}
