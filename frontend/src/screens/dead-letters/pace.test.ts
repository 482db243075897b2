import { describe, expect, it } from "vitest";
import { lasts, paceOf } from "./pace";

describe("a paced retry", () => {
  it("lasts from the first to the last", () => {
    expect(lasts(0, 10)).toBe(0);
    expect(lasts(1, 10)).toBe(0);
    expect(lasts(11, 10)).toBe(1);
    expect(lasts(3, 0.1)).toBe(20);
  });

  it.each(["", " ", "0", "-1", "x", "1e9"])("is not paced by %j", (text) => {
    expect(paceOf(text)).toBeNull();
  });

  it("takes fractions", () => {
    expect(paceOf("0.5")).toBe(0.5);
  });
});
