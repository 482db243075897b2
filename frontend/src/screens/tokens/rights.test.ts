import { describe, expect, it } from "vitest";
import { OPERATOR_RIGHTS, stateOf } from "./rights";

const NOW = Date.parse("2026-11-26T12:00:00Z");

describe("a token", () => {
  it.each([
    [null, null, "active"],
    [null, "2026-11-27T12:00:00Z", "active"],
    [null, "2026-11-26T12:00:00Z", "expired"],
    ["2026-11-26T11:00:00Z", "2026-11-26T12:00:00Z", "revoked"],
  ])("revoked at %s and expiring at %s is %s", (revoked_at, expires_at, state) => {
    expect(stateOf({ revoked_at, expires_at }, NOW)).toBe(state);
  });
});

it("operators neither submit nor read payloads by themselves", () => {
  expect(OPERATOR_RIGHTS).not.toContain("jobs:submit");
  expect(OPERATOR_RIGHTS).not.toContain("payload:read");
  expect(OPERATOR_RIGHTS).toContain("jobs:read");
});
