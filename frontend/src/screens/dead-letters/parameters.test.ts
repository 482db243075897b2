import { describe, expect, it } from "vitest";
import { parametersOf } from "./parameters";

describe("parameters", () => {
  it("are an object", () => {
    expect(parametersOf('{"month": "2026-11"}')).toEqual({ month: "2026-11" });
  });

  it.each(["", "{", "[1]", "null", '"x"', "3"])("are not %j", (text) => {
    expect(parametersOf(text)).toEqual(expect.any(String));
  });
});
