import { describe, expect, it } from "vitest";
import { exact } from "../../ui/format";
import { changesOf } from "./changes";

describe("changes", () => {
  it("have both sides where both are told", () => {
    expect(changesOf({ weight: 1, name: "Acme" }, { weight: 2, name: "Acme" })).toEqual([
      { name: "weight", from: "1", to: "2" },
    ]);
  });

  it("have one side where one is told", () => {
    expect(changesOf(null, { role: "admin", permissions: ["a"] })).toEqual([
      { name: "role", from: null, to: "admin" },
      { name: "permissions", from: null, to: '["a"]' },
    ]);
    expect(changesOf({ status: "queued" }, null)).toEqual([{ name: "status", from: "queued", to: null }]);
  });

  it("have words and the reader's time", () => {
    expect(changesOf({ status: "dead_letter" }, { run_at: "2026-12-24T17:00:00+00:00" })).toEqual([
      { name: "status", from: "dead letter", to: null },
      { name: "run at", from: null, to: exact(new Date("2026-12-24T17:00:00Z")) },
    ]);
  });

  it("are none where nothing is told", () => {
    expect(changesOf(null, null)).toEqual([]);
    expect(changesOf(null, { reason: "", max_running: null, permissions: [] })).toEqual([]);
  });
});
