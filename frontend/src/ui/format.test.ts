import { describe, expect, it } from "vitest";
import { count, duration, exact, inLocalTime, plural, relative, size, someOf, timeOfDay } from "./format";

describe("durations", () => {
  it.each([
    [0, "0 s"],
    [0.0004, "1 ms"],
    [0.25, "250 ms"],
    [3.08, "3.1 s"],
    [59.4, "59 s"],
    [60, "1 min"],
    [61, "1 min 1 s"],
    [3600, "1 h"],
    [3_725, "1 h 2 min"],
    [90_000, "1 d 1 h"],
    [Number.NaN, "–"],
  ])("of %d seconds read %s", (seconds, told) => {
    expect(duration(seconds)).toBe(told);
  });
});

describe("moments", () => {
  const now = Date.UTC(2026, 10, 26, 10);

  it.each([
    [0, "just now"],
    [59_400, "59 s ago"],
    [59_999, "1 min ago"],
    [3_599_000, "1 h ago"],
    [-259_199_000, "in 3 d"],
    [60_000, "1 min ago"],
    [7_200_000, "2 h ago"],
    [172_800_000, "2 d ago"],
    [-300_000, "in 5 min"],
  ])("%d milliseconds before read %s", (before, told) => {
    expect(relative(new Date(now - before), now)).toBe(told);
  });

  it("have one form in full", () => {
    expect(exact(new Date(2026, 10, 28, 0, 5, 7))).toMatch(/^Sat 28 Nov 2026 00:05:07 \S+$/);
  });

  it("begin the day at 0", () => {
    expect(timeOfDay(new Date(2026, 10, 28, 0, 5, 7))).toBe("00:05:07");
  });
});

describe("counts and sizes", () => {
  it("say where counting ended", () => {
    expect(count(10_000, true)).toBe("10,000+");
    expect(plural(1, "job")).toBe("1 job");
    expect(plural(1200, "job")).toBe("1,200 jobs");
    expect(plural(10_000, "job", "jobs", true)).toBe("10,000+ jobs");
  });

  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "1.0 kB"],
    [999_600, "1.0 MB"],
    [123_456_789, "123 MB"],
  ])("%d bytes are %s", (bytes, told) => {
    expect(size(bytes)).toBe(told);
  });
});

it("of many names says some, and how many more there are", () => {
  expect(someOf(["a", "b"], 5)).toBe("a, b");
  expect(someOf(["a", "b", "c", "d", "e", "f", "g"], 5)).toBe("a, b, c, d, e and 2 more");
});

it("moments within a sentence are those of the reader's clock", () => {
  const moment = exact(new Date("2026-11-28T04:19:43Z"));

  expect(inLocalTime("It waits until 2026-11-28 04:19:43 UTC; then it runs.")).toBe(
    `It waits until ${moment}; then it runs.`,
  );
  expect(inLocalTime("retry 3 at 2026-13-99 04:19:43 UTC")).toBe("retry 3 at 2026-13-99 04:19:43 UTC");
  expect(inLocalTime("month 2026-11-28")).toBe("month 2026-11-28");
});
