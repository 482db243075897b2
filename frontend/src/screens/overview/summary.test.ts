import { expect, it } from "vitest";
import { summaryOf, waitOf } from "./summary";

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

it("of an hour in which nothing ended knows no rate", () => {
  expect(summaryOf([quiet, quiet])).toEqual({
    completed: 0,
    failed: 0,
    failureRate: null,
  });
});

it("is of all attempts that ended", () => {
  const summary = summaryOf([quiet, { ...quiet, completed: 3 }, { ...quiet, failed: 1 }]);

  expect(summary).toEqual({ completed: 3, failed: 1, failureRate: 0.25 });
});

it.each([
  [0, 0, null, { value: "none", hint: "of ready jobs" }],
  [1, 0, null, { value: "none", hint: "1 waits for a retry" }],
  [3, 3, 12, { value: "12 s", hint: "of ready jobs" }],
  [3, 1, 12, { value: "12 s", hint: "of ready jobs; 2 wait for a retry" }],
])("says of %i queued jobs, %i of them ready, what they wait for", (queued, ready, oldest, told) => {
  const counted = {
    jobs_by_status: { queued },
    queue_depth_by_priority: { normal: ready },
    oldest_queued_seconds: oldest,
  };

  expect(waitOf(counted)).toEqual(told);
});
