import { describe, expect, it } from "vitest";
import { waitsForRetry, waitsOf } from "./waits";

const NOW = Date.parse("2026-11-26T10:00:00Z");
const LATER = "2026-11-26T10:05:00Z";
const EARLIER = "2026-11-26T09:55:00Z";
const JOB: Parameters<typeof waitsOf>[0] = {
  status: "queued",
  job_type: "report.pdf",
  queue: "bulk",
  depends_on: [],
  run_at: EARLIER,
  next_retry_at: null,
  held_by: null,
};

describe("what a job waits for", () => {
  it("is its turn where nothing keeps it", () => {
    expect(waitsOf(JOB, NOW)).toEqual([{ text: "waits its turn" }]);
    expect(waitsOf({ ...JOB, next_retry_at: EARLIER }, NOW)).toEqual([{ text: "waits its turn" }]);
  });

  it("is its retry, which its badge tells until that is due", () => {
    const job = { ...JOB, next_retry_at: LATER };
    expect(waitsOf(job, NOW)).toEqual([]);
    expect([0, 299_999, 300_000].map((passed) => waitsForRetry(job, NOW + passed))).toEqual([true, true, false]);
    expect([JOB, { ...job, status: "running" as const }].map((one) => waitsForRetry(one, NOW))).toEqual([false, false]);
  });

  it("is its time or its parents", () => {
    expect(waitsOf({ ...JOB, status: "pending", run_at: LATER, depends_on: ["a"] }, NOW)).toEqual([
      { text: "due", at: LATER },
    ]);
    expect(waitsOf({ ...JOB, status: "pending", depends_on: ["a"] }, NOW)).toEqual([{ text: "waits for its parent" }]);
    expect(waitsOf({ ...JOB, status: "pending", depends_on: ["a", "b"] }, NOW)).toEqual([
      { text: "waits for its parents" },
    ]);
  });

  it("is what holds it and others back, too", () => {
    expect(waitsOf({ ...JOB, next_retry_at: LATER, held_by: "queue_paused" }, NOW)).toEqual([
      { text: "queue bulk is paused" },
    ]);
    expect(waitsOf({ ...JOB, held_by: "no_worker_for_job_type" }, NOW)).toEqual([
      { text: "no worker can run report.pdf" },
    ]);
    expect(waitsOf({ ...JOB, held_by: "job_type_max_running_in_organization" }, NOW)).toEqual([
      { text: "no report.pdf may run here" },
    ]);
  });

  it("is nothing where it does not wait, or is about to be ready", () => {
    expect(waitsOf({ ...JOB, status: "running", held_by: "queue_paused" }, NOW)).toEqual([]);
    expect(waitsOf({ ...JOB, status: "pending" }, NOW)).toEqual([]);
  });
});
