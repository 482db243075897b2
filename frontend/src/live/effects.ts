/** What events do to what is shown: known fields at once, the rest by asking again, but not too often. */
import type { Query, QueryClient } from "@tanstack/react-query";
import { again } from "../api/again";
import { patience } from "../api/patience";
import type { Job, JobFilter, JobItem } from "../api/queries";
import { within } from "../api/queries";
import type { Event, Progressed, StatusChanged } from "./events";

type Page = { items: JobItem[] };

/** How long one gathers events before one asks, in milliseconds. */
const GATHER = 250;
/** And how long it is at least from one question to the next: each user may ask only so often a minute. */
const WAITS = { job: 300, list: 5_000, numbers: 10_000, chart: 20_000 } as const;

/** The parts of an organization's cache that a change of a status touches, beside lists of jobs. */
const TOUCHED: readonly (readonly [part: string, wait: keyof typeof WAITS])[] = [
  ["job-counts", "list"],
  ["dead-letters", "list"],
  ["queues", "list"],
  ["metrics", "numbers"],
  ["timeline", "chart"],
];
/** And those that events of single jobs touch. */
const OF_JOBS = ["job", "audit", "graph"] as const;
/** What events alone change: while they come, an answer is good until one of them touches it. */
const KEPT: ReadonlySet<unknown> = new Set(["jobs", "job-counts", "metrics", "timeline", "job"]);
const LIVE: ReadonlySet<string> = new Set(["pending", "queued", "running"]);
/** Parts of a job that change without an event. */
const LOOSE: ReadonlySet<unknown> = new Set(["explanation", "files", "lines"]);

/** Whether events keep the answer with this key fresh. */
export function isKept(key: readonly unknown[]): boolean {
  return key[0] === "organization" && KEPT.has(key[2]) && !(key[2] === "job" && LOOSE.has(key[4]));
}

/** When one asked last, or will ask next. */
const asked = new Map<string, number>();

/**
 * Ask again for all below a key, or for what has exactly this one: almost at once, but then not before `wait` is over,
 * however often this is called.
 */
export function soon(queries: QueryClient, key: readonly unknown[], wait: number, exact = false): void {
  const name = JSON.stringify(key);
  const now = Date.now();
  const last = asked.get(name);
  if (last !== undefined && last > now) return;
  const next = Math.max(now + GATHER, (last ?? 0) + wait, patience.until);
  asked.set(name, next);
  setTimeout(() => void again(queries, key, exact), next - now);
}

export function apply(queries: QueryClient, event: Event): void {
  const { organization } = event;
  if (event.name === "job_progress") patch(queries, event, progressed(event));
  if (event.name === "job_status_changed") {
    patch(queries, event, changed(event));
    const job = within(organization, "job", event.job_id);
    // Of the jobs that somebody looks at; the others are many.
    if (queries.getQueryState(job)) {
      soon(queries, job, WAITS.job);
      soon(queries, within(organization, "audit", { subject: event.job_id }), WAITS.list);
    }
    askLists(queries, organization, (key) => isTouched(key, event));
  }
  if (event.name === "dead_letter_alert") soon(queries, within(organization, "dead-letters"), WAITS.job);
}

/** Ask again for all that a change of some job may touch, and those lists of jobs. */
function askLists(queries: QueryClient, organization: string, isMeant: (key: readonly unknown[]) => boolean): void {
  for (const { queryKey } of queries.getQueryCache().findAll({ queryKey: within(organization, "jobs") }))
    if (isMeant(queryKey)) soon(queries, queryKey, WAITS.list, true);
  for (const [part, wait] of TOUCHED) soon(queries, within(organization, part), WAITS[wait]);
}

/** Whether a list of jobs may have others after a change: those with another status neither come nor go. */
function isTouched(key: readonly unknown[], { from_status, to_status }: StatusChanged): boolean {
  const statuses: readonly string[] | undefined = (key[3] as JobFilter | undefined)?.status;
  return (
    statuses === undefined || statuses.includes(to_status) || (from_status !== null && statuses.includes(from_status))
  );
}

/** What was asked for before events came may lack the newest of what they would have told. */
export function begin(queries: QueryClient, organization: string): void {
  for (const part of new Set([...KEPT, ...OF_JOBS, ...TOUCHED.map(([name]) => name)]))
    void again(queries, within(organization, part));
}

/** Events were missed: ask again for all that they tell of, and no more often than for what they tell. */
export function refresh(queries: QueryClient, organization: string): void {
  askLists(queries, organization, () => true);
  for (const part of OF_JOBS) soon(queries, within(organization, part), WAITS.list);
}

/** The same for operators, whose screens ask by themselves most of the time. */
export function refreshAll(queries: QueryClient): void {
  soon(queries, ["operator"], WAITS.chart);
}

/** One may no longer see it, or may again: nothing of it is as it was. */
export function admit(queries: QueryClient, organization: string): void {
  void again(queries, within(organization));
}

function patch(queries: QueryClient, event: StatusChanged | Progressed, change: (job: JobItem) => JobItem): void {
  const { organization, job_id } = event;
  const cache = queries.getQueryCache();
  const one = cache.find<Job>({ queryKey: within(organization, "job", job_id) });
  if (one?.state.data) correct(one, change(one.state.data) as Job);
  for (const list of cache.findAll({ queryKey: within(organization, "jobs") }) as Query<Page>[]) {
    const page = list.state.data;
    const job = page?.items.find(({ id }) => id === job_id);
    if (!page || !job) continue;
    const next = change(job);
    if (next !== job) correct(list, { ...page, items: page.items.map((each) => (each === job ? next : each)) });
  }
}

/** Change what an answer says, and nothing else: how old it is, and whether it could be refreshed, stays as it was. */
export function correct<Data>(query: Query<Data>, data: Data): void {
  // Not by `setQueryData`, after which it counts as new.
  if (data !== query.state.data) query.setState({ data });
}

/** The job after progress; that of an earlier attempt is no news. */
export function progressed(event: Progressed): (job: JobItem) => JobItem {
  return (job) =>
    event.attempt < job.attempt
      ? job
      : { ...job, progress: event.percent, progress_message: event.message, progress_at: event.at };
}

/** The job after a change of its status; what else changed with it is asked for. */
export function changed(event: StatusChanged): (job: JobItem) => JobItem {
  const status = event.to_status as JobItem["status"];
  return (job) => {
    if (event.attempt < job.attempt) return job;
    const next = { ...job, status, attempt: event.attempt };
    if (status === "running") next.started_at = event.at;
    // An attempt begins without progress, and a job that waits for one has none either.
    return LIVE.has(status) ? { ...next, progress: null, progress_message: null, progress_at: null } : next;
  };
}
