import { describe, expect, it } from "vitest";
import { filterOf, isEmpty, jobsSearch } from "./filter";

describe("a filter from an address", () => {
  it("takes what is a filter and leaves the rest", () => {
    expect(
      jobsSearch({ status: ["running", "nonsense", "queued"], label: ["a=1", "b"], text: "x", page: "3", user: "" }),
    ).toEqual({
      status: ["queued", "running"],
      label: ["a=1"],
      text: "x",
    });
  });

  it("of one status is a list of one", () => {
    expect(jobsSearch({ status: "queued" })).toEqual({ status: ["queued"] });
  });

  it("may be what waits for a retry", () => {
    expect(jobsSearch({ waiting_for: "retry" })).toEqual({ waiting_for: "retry" });
    expect(jobsSearch({ waiting_for: "parents" })).toEqual({});
    expect(filterOf({ waiting_for: "retry" }, 0)).toEqual({ waiting_for: "retry" });
  });

  it("may be in another order", () => {
    expect(jobsSearch({ order: "oldest" })).toEqual({ order: "oldest" });
    expect(jobsSearch({ order: "random" })).toEqual({});
  });

  it("is empty without anything, on whatever page and in whatever order", () => {
    expect(isEmpty(jobsSearch({ cursor: "abc", order: "oldest" }))).toBe(true);
    expect(isEmpty(jobsSearch({ text: "a" }))).toBe(false);
  });
});

describe("a filter for the API", () => {
  const now = Date.UTC(2026, 10, 26, 10, 0, 42);

  it("counts a span from the whole minute, so that it stays the same question", () => {
    expect(filterOf({ since: "1h" }, now)).toEqual({ created_after: "2026-11-26T09:00:00.000Z" });
    expect(filterOf({ since: "1h" }, now + 10_000)).toEqual(filterOf({ since: "1h" }, now));
  });

  it("takes moments, and leaves out what is none", () => {
    expect(filterOf({ since: "2026-11-01T00:00:00Z", before: "tomorrow" }, now)).toEqual({
      created_after: "2026-11-01T00:00:00.000Z",
    });
  });

  it("has no cursor and no order in it", () => {
    expect(filterOf({ cursor: "abc", order: "oldest", text: "x" }, now)).toEqual({ text: "x" });
  });
});
