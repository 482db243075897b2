import { describe, expect, it } from "vitest";
import { attempts, limitOf, limits } from "./describe";

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

describe("a limit that was typed", () => {
  it("is none where there is nothing", () => expect(limitOf(" ")).toBeNull());
  it("may be 0", () => expect(limitOf("0")).toBe(0));
  it.each(["-1", "1.5", "x", "3000000000"])("is not %j", (text) => expect(limitOf(text)).toBeUndefined());
});
