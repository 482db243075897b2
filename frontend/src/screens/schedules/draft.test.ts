import { describe, expect, it } from "vitest";
import { bodyOf, draftOf, isComplete, type Schedule, wrongs } from "./draft";

const NIGHTLY: Schedule = {
  name: "nightly",
  job_type: "report.pdf",
  user: "ana",
  cron: "30 6 * * MON-FRI",
  every: null,
  time_zone: "Europe/Zurich",
  start: "2026-11-01T08:00:00.123456Z",
  missed: "all",
  priority: "high",
  queue: "bulk",
  labels: { customer: "42" },
  parameters: { month: "2026-11" },
  payload_hidden: false,
  next_ticks: [],
  paused_at: null,
  paused_by: null,
  last_tick: null,
  last_job: null,
  problem: null,
  created_at: "2026-11-01T08:00:00Z",
};
const HOURLY: Schedule = { ...NIGHTLY, cron: null, every: 21_600 };
const edited = (schedule: Schedule, change = {}) => bodyOf({ ...draftOf(schedule, "Asia/Tokyo"), ...change }, schedule);

describe("a schedule that is changed", () => {
  it("keeps all that was left as it is, and its parameters by not sending them", () => {
    expect(edited(NIGHTLY)).toEqual({
      job_type: "report.pdf",
      cron: "30 6 * * MON-FRI",
      time_zone: "Europe/Zurich",
      start: "2026-11-01T08:00:00.123456Z",
      missed: "all",
      user: "ana",
      priority: "high",
      queue: "bulk",
      labels: { customer: "42" },
    });
  });

  it("goes on counting from where it began, unless it is another kind of timetable", () => {
    expect(edited(HOURLY, { amount: "3" })).toMatchObject({ every: 10_800, start: HOURLY.start });
    expect(edited(NIGHTLY, { by: "every" })).not.toHaveProperty("start");
    expect(edited(HOURLY, { by: "cron", cron: " 0 6 * * * " })).not.toHaveProperty("start");
  });

  it("gets other parameters where somebody wrote them, also none", () => {
    expect(edited(NIGHTLY, { parameters: '{"month": "2026-12"}' }).parameters).toEqual({ month: "2026-12" });
    expect(edited(NIGHTLY, { parameters: "{}" }).parameters).toEqual({});
    expect(edited(NIGHTLY, { parameters: " " })).not.toHaveProperty("parameters");
  });

  it("sends those that are shown where its job type is another, which is given none else", () => {
    expect(edited(NIGHTLY, { jobType: "report.csv" }).parameters).toEqual({ month: "2026-11" });
  });

  it("keeps those that its reader may not see", () => {
    const hidden = { ...NIGHTLY, parameters: null, payload_hidden: true };
    expect(draftOf(hidden, "UTC").parameters).toBe("");
    expect(edited(hidden)).not.toHaveProperty("parameters");
    expect(edited(hidden, { parameters: "{}" }).parameters).toEqual({});
  });
});

describe("a new schedule", () => {
  const fresh = { ...draftOf(null, "Asia/Tokyo"), name: "nightly", jobType: "report.pdf", cron: "0 6 * * *" };

  it("is in the reader's time zone and as the reader, unless they say otherwise", () => {
    expect(bodyOf(fresh, null)).toEqual({
      job_type: "report.pdf",
      cron: "0 6 * * *",
      time_zone: "Asia/Tokyo",
      missed: "one",
      user: null,
      parameters: {},
      priority: null,
      queue: null,
      labels: {},
    });
  });

  it("needs a name, a job type and when", () => {
    expect(isComplete(fresh)).toBe(true);
    for (const name of ["name", "jobType", "cron", "timeZone"])
      expect(isComplete({ ...fresh, [name]: " " })).toBe(false);
    expect(isComplete({ ...fresh, cron: "", by: "every" })).toBe(true);
  });

  it.each([
    [{}, {}],
    [{ name: "a/b" }, { name: "No slash, and neither “.” nor “..”." }],
    [{ name: ".." }, { name: "No slash, and neither “.” nor “..”." }],
    [{ by: "every", amount: "0" }, { amount: "From a second to a year." }],
    [{ by: "every", amount: "often" }, { amount: "From a second to a year." }],
    [{ by: "every", amount: "367", unit: "days" }, { amount: "From a second to a year." }],
    [{ amount: "often" }, {}],
    [{ parameters: "" }, { parameters: "This is not a JSON object." }],
    [{ parameters: "[]" }, { parameters: "This is not a JSON object." }],
  ] as const)("with %j has the wrongs %j", (change, found) => {
    expect(wrongs({ ...fresh, ...change }, null)).toEqual(found);
  });
});
