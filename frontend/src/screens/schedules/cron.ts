/** Cron expressions as people say them. Pure. */

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] as const;
const MOST = 4; // times of a day in one sentence

/** "at 06:30, Monday to Friday"; null where the expression itself reads as well. */
export function inWords(cron: string): string | null {
  const [minute = "", hour = "", day = "", month = "", weekday = "", ...more] = cron.trim().split(/\s+/);
  if (month !== "*" || more.length > 0) return null;
  const often = oftenOf(minute, hour);
  const times = often === null ? timesOf(minute, hour) : null;
  const days = daysOf(day, weekday);
  if (days === null) return null;
  if (often !== null) return days === "" ? often : `${often}, ${days}`;
  if (times === null) return null;
  return days === "" ? `at ${times} each day` : `at ${times}, ${days}`;
}

/** What happens in each hour. */
function oftenOf(minute: string, hour: string): string | null {
  if (hour !== "*") return null;
  if (minute === "*") return "every minute";
  const step = stepOf(minute, 60);
  if (step !== null) return `every ${step} minutes`;
  const at = numberOf(minute, 59);
  if (at === null) return null;
  return at === 0 ? "at each full hour" : `at minute ${at} of each hour`;
}

/** The times of a day, where they are few: "06:30 and 18:30". */
function timesOf(minute: string, hour: string): string | null {
  const at = numberOf(minute, 59);
  const step = stepOf(hour, 24);
  const hours = step === null ? numbersOf(hour, 23) : Array.from({ length: 24 / step }, (_, index) => index * step);
  if (at === null || hours === null || hours.length > MOST) return null;
  return listed(hours.map((one) => `${twoDigits(one)}:${twoDigits(at)}`));
}

/** On which days; "" is all of them. Where both fields say something, cron takes days of either: too much to say. */
function daysOf(day: string, weekday: string): string | null {
  if (day === "*" && weekday === "*") return "";
  if (day === "*") return weekdaysOf(weekday);
  const days = weekday === "*" ? numbersOf(day, 31) : null;
  if (days === null) return null;
  return `on ${days.length === 1 ? "day" : "days"} ${listed(days.map(String))} of each month`;
}

function weekdaysOf(field: string): string | null {
  const [from, to, ...more] = field.split("-").map(weekdayOf);
  if (to !== undefined) {
    if (from === undefined || from === null || to === null || more.length > 0 || from >= to) return null;
    return `${DAYS[from]} to ${DAYS[to]}`;
  }
  const days = field.split(",").map(weekdayOf);
  if (days.includes(null)) return null;
  return `each ${listed(days.map((one) => String(DAYS[one ?? 0])))}`;
}

function weekdayOf(text: string): number | null {
  const named = /^[a-z]{3}$/i.test(text)
    ? DAYS.findIndex((name) => name.slice(0, 3).toLowerCase() === text.toLowerCase())
    : -1;
  return named >= 0 ? named : numberOf(text, 7);
}

/** Of a field that is "every 15th" the 15, if it divides the whole, so that it is as long from the last to the first. */
function stepOf(field: string, whole: number): number | null {
  const step = field.startsWith("*/") ? numberOf(field.slice(2), whole / 2) : null;
  return step !== null && step > 1 && whole % step === 0 ? step : null;
}

function numbersOf(field: string, most: number): number[] | null {
  const numbers = field.split(",").map((one) => numberOf(one, most));
  return numbers.includes(null) ? null : numbers.map((one) => one ?? 0).sort((one, other) => one - other);
}

function numberOf(text: string, most: number): number | null {
  return /^\d{1,2}$/.test(text) && Number(text) <= most ? Number(text) : null;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}

function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
