import { describe, expect, it } from "vitest";
import { many, one, parseSearch, stringifySearch } from "./search";

describe("what stands behind the question mark", () => {
  it.each([
    [{}, ""],
    [{ text: "a b&c=d" }, "?text=a+b%26c%3Dd"],
    [{ status: ["queued", "running"] }, "?status=queued&status=running"],
    [{ text: '{"a":1}', label: "x=<b>" }, "?text=%7B%22a%22%3A1%7D&label=x%3D%3Cb%3E"],
  ])("%j is %s, and comes back as it was", (search, text) => {
    expect(stringifySearch(search)).toBe(text);
    expect(parseSearch(text)).toEqual(search);
  });

  it("leaves out what is not there", () => {
    expect(stringifySearch({ a: undefined, b: "", c: [], d: null })).toBe("");
  });

  it("is read as one value or many, however often a name stands there", () => {
    expect(one(["a", "b"])).toBe("a");
    expect(one("")).toBeUndefined();
    expect(many("a")).toEqual(["a"]);
    expect(many(["a", "", 3])).toEqual(["a"]);
    expect(many(undefined)).toEqual([]);
  });
});
