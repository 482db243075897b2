import { expect, it } from "vitest";
import { summaryOf } from "./summary";

const quiet = {
  at: "2026-11-26T10:00:00Z",
  submitted: 0,
  submitted_is_capped: false,
  started: 0,
  completed: 0,
  failed: 0,
  wait_p50: null,
  wait_p95: null,
  run_p50: null,
  run_p95: null,
};

it("of an hour in which nothing ended knows no rate and no seconds", () => {
  expect(summaryOf([quiet, quiet])).toEqual({
    completed: 0,
    failed: 0,
    failureRate: null,
    waitP50: null,
    waitP95: null,
    runP50: null,
    runP95: null,
  });
});

it("weighs steps by what ended in them", () => {
  const summary = summaryOf([quiet, { ...quiet, completed: 3, run_p50: 1 }, { ...quiet, failed: 1, run_p50: 5 }]);

  expect(summary.failureRate).toBe(0.25);
  expect(summary.runP50).toBe(2);
});
