/** What a paced retry takes along, and for how long it goes on. Pure. */
import { count, duration } from "../../ui/format";

export const PACES = [0.1, 1, 10, 100, 1000] as const;

/** In seconds, from the first that becomes ready to the last. */
export function lasts(jobs: number, perSecond: number): number {
  return jobs > 0 ? (jobs - 1) / perSecond : 0;
}

/**
 * After how long the last one becomes ready, in words. `matching` of the group's jobs are the reader's to retry; where
 * that is capped, how many more there are nobody has counted, but `all` are in the group.
 */
export function readyAfter(matching: number, all: number, isCapped: boolean, pace: number): string {
  return isCapped ? `up to ${duration(lasts(Math.max(matching, all), pace))}` : duration(lasts(matching, pace));
}

/** Which part of the group's jobs are retried. */
export function shareOf(matching: number, all: number, isCapped: boolean): string {
  if (matching === 0) return "None of the";
  if (isCapped) return `${count(matching, true)} of the`;
  return matching >= all ? "All" : `${count(matching)} of ${count(all)}`;
}

/** The pace that was typed; null: it is none that the server takes. */
export function paceOf(text: string): number | null {
  const pace = Number(text);
  return text.trim() !== "" && pace >= 0.001 && pace <= 100_000 ? pace : null;
}
