/** How values read on the screen. Pure: whoever calls says what time it is. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A length of time in its two largest units: "3 min 20 s". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, seconds);
  if (whole < 1) return whole === 0 ? "0 s" : `${Math.max(1, Math.round(whole * 1000))} ms`;
  if (whole < 10) return `${whole.toFixed(1)} s`;
  if (whole < MINUTE) return `${Math.round(whole)} s`;
  const rounded = Math.round(whole);
  if (rounded < HOUR) return pair(rounded, MINUTE, "min", 1, "s");
  if (rounded < DAY) return pair(rounded, HOUR, "h", MINUTE, "min");
  return pair(rounded, DAY, "d", HOUR, "h");
}

function pair(seconds: number, large: number, name: string, small: number, rest: string): string {
  const first = Math.floor(seconds / large);
  const second = Math.floor((seconds % large) / small);
  return second === 0 ? `${first} ${name}` : `${first} ${name} ${second} ${rest}`;
}

/** How long ago, or in how long: "2 min ago", "in 5 s". */
export function relative(at: Date, now: number): string {
  const seconds = (now - at.getTime()) / 1000;
  const length = Math.abs(seconds);
  if (length < 2) return seconds < 0 ? "in a moment" : "just now";
  const told = roughly(length);
  return seconds < 0 ? `in ${told}` : `${told} ago`;
}

/** A length of time in its largest unit, rounded: "3 min". */
export function roughly(seconds: number): string {
  for (const [unit, name, most] of [
    [1, "s", 60],
    [MINUTE, "min", 60],
    [HOUR, "h", 24],
  ] as const) {
    const number = Math.round(seconds / unit);
    if (number < most) return `${number} ${name}`;
  }
  return `${Math.round(seconds / DAY)} d`;
}

/** A moment in full, with its time zone: "Fri 27 Nov 2026 06:30:07 GMT+1". */
export function exact(at: Date): string {
  const { weekday, day, month, year, hour, minute, second, timeZoneName } = partsOf(at, timeZone());
  return `${weekday} ${day} ${month} ${year} ${hour}:${minute}:${second} ${timeZoneName}`;
}

/** The parts of a moment in a time zone, from which the dashboard makes its one form of dates. */
export function partsOf(at: Date, zone: string): Partial<Record<Intl.DateTimeFormatPartTypes, string>> {
  const format = new Intl.DateTimeFormat("en", {
    timeZone: zone,
    weekday: "short",
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
    timeZoneName: "short",
  });
  return Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
}

/** The name of the reader's time zone: "Europe/Berlin". */
export function timeZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** The time of day, to the second: "00:05:07". */
export function timeOfDay(at: Date): string {
  return at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

/** Moments within a sentence of the server's, "2026-11-28 04:19:43 UTC", as the reader's clock shows them. */
export function inLocalTime(sentence: string): string {
  return sentence.replace(/\b(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC\b/g, (written, day, time) => {
    const at = new Date(`${day}T${time}Z`);
    return Number.isNaN(at.getTime()) ? written : exact(at);
  });
}

/** A count, with separators; "10,000+" where it was counted no further. */
export function count(value: number, capped = false): string {
  return `${value.toLocaleString("en")}${capped ? "+" : ""}`;
}

/** "1 job", "2 jobs", "10,000+ jobs". */
export function plural(value: number, one: string, many = `${one}s`, capped = false): string {
  return `${count(value, capped)} ${value === 1 ? one : many}`;
}

/** The first of them by name, and how many more there are: "a, b and 2 more". */
export function someOf(names: readonly string[], most: number): string {
  const more = names.length - most;
  return names.slice(0, most).join(", ") + (more > 0 ? ` and ${count(more)} more` : "");
}

/** A size in bytes: "1.2 MB". */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** The part of an id that tells jobs apart: its last eight characters, as the first ones are their time. */
export function short(id: string): string {
  return id.slice(-8);
}

/** "dead_letter" as people say it: "dead letter". */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}
