import { describe, expect, it } from "vitest";
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

  it("are none where nothing is told", () => {
    expect(changesOf(null, null)).toEqual([]);
    expect(changesOf(null, { reason: "", max_running: null, permissions: [] })).toEqual([]);
  });
});
