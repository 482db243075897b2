/** How the options of a job type read. Pure. */
import type { Schema } from "../../api/client";
import { count, duration } from "../../ui/format";

type Options = Schema["Options"];
type Limit = Pick<Options, "max_running" | "execution_rate" | "execution_rate_window">;

/** The times within which starts are counted, in seconds. */
export const WINDOWS = [
  ["second", 1],
  ["minute", 60],
  ["hour", 3600],
  ["day", 86_400],
] as const;

/** With the time that holds, which need be none of them. */
export function windowsWith(holds: number): (readonly [name: string, seconds: number])[] {
  return WINDOWS.some(([, seconds]) => seconds === holds) ? [...WINDOWS] : [...WINDOWS, [duration(holds), holds]];
}

/** What holds for an organization for which nothing was set. */
export const UNLIMITED = { max_running: null, execution_rate: null, execution_rate_window: 60 } as const;

/** "at most 5 at once", "100 starts in 1 min"; nothing where it is not limited. */
export function limits({ max_running, execution_rate, execution_rate_window }: Limit): string[] {
  return [
    max_running == null ? null : `at most ${count(max_running)} at once`,
    execution_rate == null
      ? null
      : `${count(execution_rate)} ${execution_rate === 1 ? "start" : "starts"} in ${duration(execution_rate_window)}`,
  ].filter((one) => one !== null);
}

/** "5 retries, each up to 5 min". */
export function attempts({ max_retries, timeout }: Pick<Options, "max_retries" | "timeout">): string {
  const retries =
    max_retries == null
      ? "retried without end"
      : max_retries === 0
        ? "no retry"
        : `${count(max_retries)} ${max_retries === 1 ? "retry" : "retries"}`;
  const each = max_retries === 0 ? "" : "each ";
  return `${retries}, ${timeout == null ? "no timeout" : `${each}up to ${duration(timeout)}`}`;
}

type ByType = Pick<Schema["Metrics"], "attempts_by_type" | "processing_seconds_by_type" | "failure_rate_by_type">;

/** How the attempts of a job type went that ended of late, and the processing time of its jobs, null: none ended. */
export interface Recent {
  attempts: number;
  average: number | null;
  p95: number | null;
  failureRate: number;
}

/** Null: none ended. */
export function recent(metrics: ByType, name: string): Recent | null {
  // A type may be called as what every object has.
  const of = <V>(values: Record<string, V>) => (Object.hasOwn(values, name) ? values[name] : undefined);
  const attempts = of(metrics.attempts_by_type);
  if (attempts === undefined) return null;
  const { average = null, p95 = null } = of(metrics.processing_seconds_by_type) ?? {};
  return {
    attempts,
    average,
    p95,
    failureRate: of(metrics.failure_rate_by_type) ?? 0,
  };
}

/** "2.5 %", "100 %". */
export function percent(share: number): string {
  const rounded = Number((100 * share).toFixed(1));
  return share > 0 && rounded === 0 ? "< 0.1 %" : `${rounded} %`;
}

/** A limit as it was typed: null for none at all, undefined where it is no limit. */
export function limitOf(text: string): number | null | undefined {
  if (text.trim() === "") return null;
  const value = Number(text);
  return Number.isInteger(value) && value >= 0 && value < 2 ** 31 ? value : undefined;
}

/** What of a job type may run, as its row says it. */
export interface Told {
  /** Of all organizations together. */
  every: string[];
  /** What the application says instead; null: the same. */
  declared: string[] | null;
  /** Of this organization alone; null: nothing was set for it. */
  own: string[] | null;
}

export function toldLimits({ options, limits: all }: Pick<Schema["JobTypeView"], "options" | "limits">): Told {
  const [every, own] = [all.find((one) => one.organization === null), all.find((one) => one.organization !== null)];
  const [holds, declared] = [limits(every ?? options), limits(options)];
  return {
    every: holds,
    declared: holds.join() === declared.join() ? null : declared,
    own: own ? limits(own) : null,
  };
}

/** The same in one line, where there is no room for a column. */
export function limitsInShort({ every, declared, own }: Told): string {
  const of = (limits: string[]) => limits.join(", ") || "none";
  const here = own ? [`here: ${of(own)}`] : [];
  const said = declared ? [`the application says: ${of(declared)}`] : [];
  return [`Limit: ${of(every)}`, ...here, ...said].join("; ");
}

/** What somebody typed over a limit; what is absent they left alone. */
export interface TypedLimit {
  running?: string;
  rate?: string;
  window?: string;
}

/** A limit as a form shows it: what was typed, and what holds where nothing was. */
export function shownLimit(holds: Limit, typed: TypedLimit): Required<TypedLimit> {
  return {
    running: `${holds.max_running ?? ""}`,
    rate: `${holds.execution_rate ?? ""}`,
    window: `${holds.execution_rate_window}`,
    ...typed,
  };
}

/** What of a limit is to be changed, and nothing that is not; null where nothing is, or what was typed is no limit. */
export function limitChanges(holds: Limit, typed: TypedLimit): Partial<Limit> | null {
  const shown = shownLimit(holds, typed);
  const [max_running, execution_rate] = [limitOf(shown.running), limitOf(shown.rate)];
  if (max_running === undefined || execution_rate === undefined) return null;
  const execution_rate_window = Number(shown.window);
  const changes = {
    ...(max_running !== holds.max_running && { max_running }),
    ...(execution_rate !== holds.execution_rate && { execution_rate }),
    // It is the time of a rate; without one it says nothing.
    ...(execution_rate !== null && execution_rate_window !== holds.execution_rate_window && { execution_rate_window }),
  };
  return Object.keys(changes).length > 0 ? changes : null;
}
