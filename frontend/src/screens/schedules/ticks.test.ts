import { describe, expect, it } from "vitest";
import { everyInWords, inUnit, secondsOf, tickTime, zonesOf } from "./ticks";

const NOW = Date.parse("2026-11-26T12:00:00Z");

describe("ticks are shown", () => {
  it.each([
    ["in both zones", "Europe/Zurich", "Asia/Tokyo", ["Europe/Zurich", "Asia/Tokyo"]],
    ["once where both are one", "Europe/Zurich", "Europe/Zurich", ["Europe/Zurich"]],
    ["once where both are one by two names", "Etc/UTC", "UTC", ["Etc/UTC"]],
    ["in the reader's where the browser does not know the schedule's", "Mars/Olympus", "UTC", ["UTC"]],
  ])("%s", (_, schedule, reader, zones) => expect(zonesOf(schedule, reader)).toEqual(zones));

  it.each([
    ["2026-11-27T05:30:00Z", "Europe/Zurich", "Fri 27 Nov 06:30"],
    ["2026-11-27T05:30:00Z", "America/New_York", "Fri 27 Nov 00:30"],
    ["2026-11-27T15:00:00Z", "Asia/Tokyo", "Sat 28 Nov 00:00"],
    ["2026-11-27T05:30:07.5Z", "UTC", "Fri 27 Nov 05:30:07"],
    ["2028-02-29T00:00:00Z", "UTC", "Tue 29 Feb 2028 00:00"],
    ["2026-12-31T23:30:00Z", "Europe/Zurich", "Fri 1 Jan 2027 00:30"],
  ])("%s in %s as %s", (at, zone, told) => expect(tickTime(new Date(at), zone, NOW)).toBe(told));
});

it.each([
  [86_400, "every 1 d", [1, "days"]],
  [21_600, "every 6 h", [6, "hours"]],
  [5400, "every 90 min", [90, "minutes"]],
  [61, "every 61 s", [61, "seconds"]],
  [1.5, "every 1.5 s", [1.5, "seconds"]],
] as const)("%d seconds are %s", (seconds, told, [amount, unit]) => {
  expect(everyInWords(seconds)).toBe(told);
  expect(inUnit(seconds).slice(0, 2)).toEqual([amount, unit]);
  expect(secondsOf(amount, unit)).toBe(seconds);
});
