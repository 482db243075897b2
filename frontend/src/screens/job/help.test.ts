import { expect, it } from "vitest";
import { helpFor } from "./help";

it("leads to where it is changed", () => {
  const told = ["queue_paused", "job_type_paused", "organization_paused", "organization_suspended"];

  expect(told.map((code) => helpFor(code, true)?.to)).toEqual([
    "/operator/queues",
    "/operator/job-types",
    "/operator",
    "/operator",
  ]);
  expect(helpFor("waits_for_parents", true)).toBeUndefined();
});

it("leads to no screen that can't change what the application says", () => {
  const theirs = ["organization_suspended", "organization_max_running"];

  expect(theirs.map((code) => helpFor(code, false))).toEqual([undefined, undefined]);
  expect(helpFor("organization_paused", false)?.to).toBe("/operator");
});
