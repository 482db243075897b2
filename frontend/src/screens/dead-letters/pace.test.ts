import { describe, expect, it } from "vitest";
import { lasts, paceOf, readyAfter, shareOf } from "./pace";

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

  it("goes on for as long as the whole group takes, where nobody has counted whose it is", () => {
    expect(readyAfter(10_000, 60_000, true, 10)).toBe("up to 1 h 40 min");
    expect(readyAfter(10_000, 9_990, true, 10)).toBe("up to 16 min 40 s"); // some fell since
    expect(readyAfter(101, 60_000, false, 10)).toBe("10 s");
  });

  it("takes along what is the reader's", () => {
    expect(shareOf(0, 3, false)).toBe("None of the");
    expect(shareOf(2, 3, false)).toBe("2 of 3");
    expect(shareOf(3, 3, false)).toBe("All");
    expect(shareOf(10_000, 60_000, true)).toBe("10,000+ of the");
  });

  it("takes fractions", () => {
    expect(paceOf("0.5")).toBe(0.5);
  });
});
