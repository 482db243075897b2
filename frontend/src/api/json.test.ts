import { describe, expect, it } from "vitest";
import { exact, read, written } from "./json";

const LARGE = "9007199254740993"; // 2^53 + 1, which a number of JavaScript's can't be

describe("an integer beyond 2^53", () => {
  it.each([`{"id":${LARGE}}`, `{"ids":[-${LARGE},1.5,1e+21,"${LARGE}",{"${LARGE}":"\\"${LARGE}"}]}`])(
    "is written as it was read in %s",
    (text) => {
      expect(written(read(text))).toBe(text);
    },
  );

  it("is kept where not even its size is known to a number", () => {
    const text = `{"id":${"7".repeat(400)}}`;

    expect(written(read(text))).toBe(text);
  });

  it("is kept in what the API answers", async () => {
    const answer = () => exact(new Response(`{"id": ${LARGE}, "name": "a"}`));

    expect(written(await answer().json())).toBe(`{"id":${LARGE},"name":"a"}`);
    expect(written(JSON.parse(await answer().text()), true)).toBe(`{\n  "id": ${LARGE},\n  "name": "a"\n}`);
  });

  it("makes no JSON of what is none", () => {
    for (const text of [`{"a": 0${LARGE}}`, `{${LARGE}: 1}`, `{"a": ${LARGE} ${LARGE}}`, `{"a": "${LARGE}`])
      expect(() => read(text)).toThrow(SyntaxError);
  });
});

it("a number of more digits than a browser keeps is written as it was read", () => {
  for (const number of ["12345678901234567.89", "-0.1234567890123456789", "1e-400", "0.10000000000000001", "1.5e400"])
    expect(written(read(`{"a":[${number}]}`))).toBe(`{"a":[${number}]}`);
});

it("other numbers stay numbers", () => {
  expect(
    read(
      '{"a": 9007199254740991, "b": 1234567890123456.5, "c": 1e300, "d": 1.234567890123456, "e": 1.0000000000000000, "f": 0.0E-100, "g": 100.50E-107}',
    ),
  ).toEqual({
    a: 9007199254740991,
    b: 1234567890123456.5,
    c: 1e300,
    d: 1.234567890123456,
    e: 1,
    f: 0,
    g: 1.005e-105,
  });
});
