import { describe, expect, it } from "vitest";
import { written } from "../../api/json";
import { parametersOf } from "./parameters";

describe("parameters", () => {
  it("are an object", () => {
    expect(parametersOf('{"month": "2026-11"}')).toEqual({ month: "2026-11" });
  });

  it("keep integers that a browser would round", () => {
    const text = '{"account":9007199254740993}';

    expect(written(parametersOf(text))).toBe(text);
  });

  it.each(["", "{", "[1]", "null", '"x"', "3"])("are not %j", (text) => {
    expect(parametersOf(text)).toEqual(expect.any(String));
  });
});
