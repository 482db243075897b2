/** How the options of a job type read. Pure. */
import type { Schema } from "../../api/client";
import { count, duration } from "../../ui/format";

type Options = Schema["Options"];

/** The times within which starts are counted, in seconds. */
export const WINDOWS = [
  ["second", 1],
  ["minute", 60],
  ["hour", 3600],
  ["day", 86_400],
] as const;

/** "at most 5 at once", "100 starts in 1 min"; nothing where it is not limited. */
export function limits({
  max_running,
  execution_rate,
  execution_rate_window,
}: Pick<Options, "max_running" | "execution_rate" | "execution_rate_window">): string[] {
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
  return `${retries}, ${timeout == null ? "no timeout" : `each up to ${duration(timeout)}`}`;
}

type ByType = Pick<Schema["Metrics"], "attempts_by_type" | "processing_seconds_by_type" | "failure_rate_by_type">;

/** How the attempts of a job type went that ended of late. */
export interface Recent {
  attempts: number;
  seconds: number;
  failureRate: number;
}

/** Null: none ended. */
export function recent(metrics: ByType, name: string): Recent | null {
  // A type may be called as what every object has.
  const of = (values: Record<string, number>) => (Object.hasOwn(values, name) ? values[name] : undefined);
  const attempts = of(metrics.attempts_by_type);
  if (attempts === undefined) return null;
  return {
    attempts,
    seconds: of(metrics.processing_seconds_by_type) ?? 0,
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
