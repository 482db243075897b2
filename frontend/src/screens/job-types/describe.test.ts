import { describe, expect, it } from "vitest";
import { attempts, limitOf, limits, percent, recent } from "./describe";

describe("the options of a job type", () => {
  it("say what may run", () => {
    expect(limits({ max_running: null, execution_rate: null, execution_rate_window: 60 })).toEqual([]);
    expect(limits({ max_running: 5, execution_rate: null, execution_rate_window: 60 })).toEqual(["at most 5 at once"]);
    expect(limits({ max_running: 0, execution_rate: 1, execution_rate_window: 60 })).toEqual([
      "at most 0 at once",
      "1 start in 1 min",
    ]);
  });

  it("say how often it is tried", () => {
    expect(attempts({ max_retries: 5, timeout: 300 })).toBe("5 retries, each up to 5 min");
    expect(attempts({ max_retries: 0, timeout: null })).toBe("no retry, no timeout");
    expect(attempts({ max_retries: null, timeout: 30 })).toBe("retried without end, each up to 30 s");
  });
});

describe("how a job type went of late", () => {
  const metrics = {
    attempts_by_type: { report: 4 },
    processing_seconds_by_type: { report: 2.5 },
    failure_rate_by_type: { report: 0.25 },
  };
  it("is told where attempts ended", () =>
    expect(recent(metrics, "report")).toEqual({ attempts: 4, seconds: 2.5, failureRate: 0.25 }));
  it.each(["fax", "constructor"])("is not made up of %s", (name) => expect(recent(metrics, name)).toBeNull());
  it("is read in percent", () =>
    expect([0, 0.0001, 0.0251, 1].map(percent)).toEqual(["0 %", "< 0.1 %", "2.5 %", "100 %"]));
});

describe("a limit that was typed", () => {
  it("is none where there is nothing", () => expect(limitOf(" ")).toBeNull());
  it("may be 0", () => expect(limitOf("0")).toBe(0));
  it.each(["-1", "1.5", "x", "3000000000"])("is not %j", (text) => expect(limitOf(text)).toBeUndefined());
});
