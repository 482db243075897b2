import { describe, expect, it } from "vitest";
import type { Schema } from "../../api/client";
import {
  attempts,
  limitChanges,
  limitOf,
  limits,
  limitsInShort,
  percent,
  recent,
  shownLimit,
  toldLimits,
} from "./describe";

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
    expect(attempts({ max_retries: 0, timeout: 300 })).toBe("no retry, up to 5 min");
    expect(attempts({ max_retries: null, timeout: 30 })).toBe("retried without end, each up to 30 s");
  });
});

describe("how a job type went of late", () => {
  const metrics = {
    attempts_by_type: { report: 4, mail: 1 },
    processing_seconds_by_type: { report: { average: 2.5, p95: 4 }, mail: { average: null, p95: null } },
    failure_rate_by_type: { report: 0.25, mail: 1 },
  };
  it("is told where attempts ended", () =>
    expect(recent(metrics, "report")).toEqual({ attempts: 4, average: 2.5, p95: 4, failureRate: 0.25 }));
  it("has no processing time where no job ended", () =>
    expect(recent(metrics, "mail")).toEqual({ attempts: 1, average: null, p95: null, failureRate: 1 }));
  it.each(["fax", "constructor"])("is not made up of %s", (name) => expect(recent(metrics, name)).toBeNull());
  it("is read in percent", () =>
    expect([0, 0.0001, 0.0251, 1].map(percent)).toEqual(["0 %", "< 0.1 %", "2.5 %", "100 %"]));
});

describe("a limit that was typed", () => {
  it("is none where there is nothing", () => expect(limitOf(" ")).toBeNull());
  it("may be 0", () => expect(limitOf("0")).toBe(0));
  it.each(["-1", "1.5", "x", "3000000000"])("is not %j", (text) => expect(limitOf(text)).toBeUndefined());
});

describe("what of a job type may run", () => {
  const none = { max_running: null, execution_rate: null, execution_rate_window: 60 };
  const options = { ...none, max_running: 1 } as Schema["Options"];
  const of = (organization: string | null, more: object) => ({
    ...none,
    job_type: "a",
    changed: [],
    organization,
    ...more,
  });
  it("is as the application says where nobody set another", () =>
    expect(toldLimits({ options, limits: [of(null, { max_running: 1 })] })).toEqual({
      every: ["at most 1 at once"],
      declared: null,
      own: null,
    }));
  it("is what was set, beside what the application says", () =>
    expect(toldLimits({ options, limits: [of(null, {}), of("acme", { max_running: 2 })] })).toEqual({
      every: [],
      declared: ["at most 1 at once"],
      own: ["at most 2 at once"],
    }));
  it("is told in one line, too", () => {
    expect(limitsInShort({ every: [], declared: null, own: null })).toBe("Limit: none");
    expect(
      limitsInShort({
        every: ["at most 5 at once", "1 start in 1 min"],
        declared: [],
        own: ["at most 2 at once"],
      }),
    ).toBe("Limit: at most 5 at once, 1 start in 1 min; here: at most 2 at once; the application says: none");
  });
});

describe("a limit that is changed", () => {
  const holds = { max_running: 1, execution_rate: null, execution_rate_window: 60 };
  it("is shown as it holds, but for what was typed", () => {
    expect(shownLimit(holds, {})).toEqual({ running: "1", rate: "", window: "60" });
    expect(shownLimit(holds, { running: "", rate: "30" })).toEqual({ running: "", rate: "30", window: "60" });
  });
  it("keeps what was left alone", () => {
    expect(limitChanges(holds, { rate: "30" })).toEqual({ execution_rate: 30 });
    expect(limitChanges(holds, { rate: "30", window: "3600" })).toEqual({
      execution_rate: 30,
      execution_rate_window: 3600,
    });
  });
  it("is lifted only by who clears what holds", () =>
    expect(limitChanges(holds, { running: "" })).toEqual({ max_running: null }));
  it.each([{}, { running: "1" }, { window: "3600" }, { running: "x", rate: "30" }])("is not by %j", (typed) =>
    expect(limitChanges(holds, typed)).toBeNull(),
  );
});
