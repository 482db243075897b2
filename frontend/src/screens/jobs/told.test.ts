import { describe, expect, it } from "vitest";
import { type BulkAction, reasons, titleOf, told, whyPassedOver } from "./told";

function action(changes: Partial<BulkAction> = {}): BulkAction {
  return {
    id: "1",
    action: "cancel",
    state: "working",
    user: "ana",
    filter: {},
    per_second: null,
    changed: 1200,
    passed_over: 0,
    refused: 0,
    refusals: [],
    is_waiting: false,
    created_at: "2026-11-27T11:00:00Z",
    ended_at: null,
    stopped_by: null,
    problem: null,
    ...changes,
  };
}

describe("a bulk action", () => {
  it("says what it is about and who began it", () => {
    const filter = { status: ["queued", "running"], job_type: "report", label: { batch: "7" }, text: null };
    expect(titleOf(action({ filter }))).toBe(
      "Canceling jobs (status queued or running, job type report, label batch=7), begun by ana",
    );
    expect(titleOf(action({ filter: { user: "ana" } }))).toBe("Canceling jobs, begun by ana");
    expect(titleOf(action({ filter: { user: "ben" }, user: null }))).toBe("Canceling jobs (user ben)");
  });

  it("says how far it has come", () => {
    expect(told(action({ passed_over: 3 }))).toBe(
      "Canceling jobs, begun by ana: 1,200 canceled or asked to stop so far, 3 passed over.",
    );
    expect(told(action({ action: "retry", state: "done", changed: 1 }))).toBe("1 job queued again.");
  });

  it("says why it passed some over", () => {
    expect(whyPassedOver(action())).toBeNull();
    expect(whyPassedOver(action({ action: "retry", passed_over: 1 }))).toMatch(/follows its parent/);
    expect(whyPassedOver(action({ passed_over: 1 }))).toMatch(/meanwhile\.$/);
  });

  it("says who stopped it, and why", () => {
    const stopped = { state: "stopped", changed: 2 } as const;
    expect(told(action({ ...stopped, stopped_by: "olga" }))).toBe(
      "Stopped by olga: 2 jobs canceled or asked to stop before.",
    );
    expect(told(action({ ...stopped, stopped_by: "system", problem: "the token was revoked" }))).toBe(
      "Stopped by system, as the token was revoked: 2 jobs canceled or asked to stop before.",
    );
  });
});

it("tells each reason once, and few of them", () => {
  const details = ["not yours", "not yours", "too late", "gone", "busy"].map((detail) => ({ detail }));
  expect(reasons(details)).toEqual(["not yours", "too late", "gone"]);
});
