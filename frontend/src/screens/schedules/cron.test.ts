import { expect, it } from "vitest";
import { inWords } from "./cron";

it.each([
  ["* * * * *", "every minute"],
  ["*/15 * * * *", "every 15 minutes"],
  ["*/15 * * * MON-FRI", "every 15 minutes, Monday to Friday"],
  ["0 * * * *", "at each full hour"],
  ["5 * * * *", "at minute 5 of each hour"],
  ["30 6 * * *", "at 06:30 each day"],
  ["30  6 * * mon-fri", "at 06:30, Monday to Friday"],
  ["30 6 * * 1-5", "at 06:30, Monday to Friday"],
  ["0 8 * * 6-7", "at 08:00, Saturday to Sunday"],
  ["0 8 * * 0", "at 08:00, each Sunday"],
  ["0 8 * * 7", "at 08:00, each Sunday"],
  ["0 8 * * MON,THU", "at 08:00, each Monday and Thursday"],
  ["15 */6 * * *", "at 00:15, 06:15, 12:15 and 18:15 each day"],
  ["30 18,6 * * *", "at 06:30 and 18:30 each day"],
  ["0 0 1 * *", "at 00:00, on day 1 of each month"],
  ["0 0 15,1 * *", "at 00:00, on days 1 and 15 of each month"],
])("%j is told as %j", (cron, told) => expect(inWords(cron)).toBe(told));

it.each([
  "0 0 1 * MON", // of either, as cron has it
  "0 0 1 6 *",
  "*/7 * * * *", // not as long from 56 to 0
  "0 * 1-7 * *",
  "0 */2 * * *", // twelve times a day
  "0 0 L * *",
  "0 0 * * FRI-MON",
  "0 0 * * MON#2",
  "0 0 * * son",
  "60 * * * *",
  "0 24 * * *",
  "0 0 * *",
  "0 0 0 * * *",
  "",
])("%j stays as it is", (cron) => expect(inWords(cron)).toBeNull());
