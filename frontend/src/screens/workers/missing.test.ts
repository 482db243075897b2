import { describe, expect, it } from "vitest";
import { told } from "./missing";

const some = [
  { queue: "default", job_type: "a", waiting: 7, queue_is_served: false },
  { queue: "default", job_type: "b", waiting: 50, queue_is_served: false },
  { queue: "gpu", job_type: "c", waiting: 1, queue_is_served: true },
];

describe("jobs without a worker", () => {
  it("are told of by what is missing, once", () => {
    expect(told(some, 2)).toEqual([
      "No worker serves queue default: 57 jobs wait (a, b).",
      "No worker of queue gpu can run c: 1 job waits.",
    ]);
  });

  it("all miss the same where no worker is alive", () => {
    expect(told(some, 0)).toEqual(["No worker is alive: 58 jobs wait until one is started."]);
    expect(told([], 0)).toEqual([]);
  });
});
