import { describe, expect, it } from "vitest";
import { stateOf, versions } from "./states";

const fresh = { stopping: false, drain_requested: false, silent: 1, lease_left: 14, lost: false };

describe("a worker", () => {
  it.each([
    [{}, "active"],
    [{ silent: 10, lease_left: 5 }, "silent"],
    [{ silent: 90, lease_left: 0, stopping: true, lost: true }, "lost"],
    [{ drain_requested: true }, "draining"],
    [{ drain_requested: true, stopping: true }, "stopping"],
  ])("%o is %s", (change, state) => expect(stateOf({ ...fresh, ...change })).toBe(state));
});

describe("versions", () => {
  it("come with the most frequent first", () => {
    expect(versions([{ version: "1.0" }, { version: "1.1" }, { version: "1.1" }, { version: null }])).toEqual([
      "1.1",
      "1.0",
      "unknown",
    ]);
  });
  it("are none without workers", () => expect(versions([])).toEqual([]));
});
