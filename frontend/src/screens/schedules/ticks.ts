/** When ticks are, in a time zone, and how far they are apart. Pure. */

import { partsOf } from "../../ui/format";

/** The time zones in which ticks are shown: the schedule's, and the reader's where that is another one. */
export function zonesOf(schedule: string, reader: string): string[] {
  const own = known(schedule);
  if (own === null) return [reader];
  return own === known(reader) ? [schedule] : [schedule, reader];
}

/** A time zone as the browser calls it, which has one name where others have several; null: it knows none of that name. */
export function known(zone: string): string | null {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: zone }).resolvedOptions().timeZone;
  } catch {
    return null;
  }
}

/** A moment in a time zone: "Fri 27 Nov 06:30"; with the year, where it is not this one, and seconds, where it has any. */
export function tickTime(at: Date, zone: string, now: number): string {
  const parts = partsOf(at, zone);
  const year = parts.year === partsOf(new Date(now), zone).year ? "" : ` ${parts.year}`;
  const seconds = parts.second === "00" ? "" : `:${parts.second}`;
  return `${parts.weekday} ${parts.day} ${parts.month}${year} ${parts.hour}:${parts.minute}${seconds}`;
}

/** The units in which people say how often, in seconds. */
export const UNITS = [
  ["days", 86_400, "d"],
  ["hours", 3600, "h"],
  ["minutes", 60, "min"],
  ["seconds", 1, "s"],
] as const;
export type Unit = (typeof UNITS)[number][0];

/** Seconds in the largest unit of which they are so many: 5,400 are 90 minutes. */
export function inUnit(seconds: number): [amount: number, unit: Unit, short: string] {
  for (const [unit, length, short] of UNITS) if (seconds % length === 0) return [seconds / length, unit, short];
  return [seconds, "seconds", "s"];
}

export function secondsOf(amount: number, unit: Unit): number {
  return amount * (UNITS.find(([name]) => name === unit)?.[1] ?? 1);
}

/** "every 6 h". */
export function everyInWords(seconds: number): string {
  const [amount, , short] = inUnit(seconds);
  return `every ${amount} ${short}`;
}
