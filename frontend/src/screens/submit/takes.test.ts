import { expect, it } from "vitest";
import { type JsonSchema, parameters, skeleton } from "./takes";

const REPORT: JsonSchema = {
  type: "object",
  properties: {
    month: { type: "string", format: "date" },
    pages: { type: "integer", minimum: 1 },
    share: { type: "number", exclusiveMaximum: 1 },
    tone: { enum: ["dark", "light", 1] },
    note: { anyOf: [{ type: "string" }, { type: "null" }] },
    lines: { type: "array", items: { $ref: "#/$defs/Line" } },
    pair: { type: "array", prefixItems: [{ type: "integer" }, { type: "string" }], items: false },
    price: { type: ["string", "number"] },
    data: { type: "string", contentEncoding: "base64" },
    password: { type: "string", format: "password", writeOnly: true },
    anything: {},
    ctx: false,
  },
  required: ["month", "pages", "tone", "lines", "anything"],
};

it("says in words what each parameter is, and which have to be given", () => {
  const found = Object.fromEntries(parameters(REPORT).map(({ name, what }) => [name, what]));

  expect(found).toEqual({
    month: "date, such as 2026-11-01",
    pages: "whole number, at least 1",
    share: "number, less than 1",
    tone: '"dark" or "light" or 1',
    note: "text or null",
    lines: "list of object",
    pair: "[whole number, text]",
    price: "text or number",
    data: "base64",
    password: "secret text",
    anything: "any value",
  });
  expect(parameters(REPORT).filter(({ required }) => required)).toHaveLength(5);
});

it("begins with what has to be given", () => {
  expect(JSON.parse(skeleton(REPORT))).toEqual({ month: "", pages: 1, tone: "dark", lines: [{}], anything: null });
  expect(skeleton({ type: "object", properties: {} })).toBe("{}");
});

it("begins with a number that may be given", () => {
  const first = (schema: JsonSchema) =>
    JSON.parse(skeleton({ properties: { n: { type: "integer", ...schema } }, required: ["n"] })).n;

  expect(first({ exclusiveMinimum: 2 })).toBe(3);
  expect(first({ minimum: -5, maximum: -2 })).toBe(-2);
  expect(first({ maximum: -2 })).toBe(-2);
  expect(first({ exclusiveMaximum: 0 })).toBe(-1);
  expect(first({ minimum: -5 })).toBe(0);
  expect(first({ minimum: 1, default: 4 })).toBe(4);
  expect(first({ type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 })).toBe(0.5);
});

it("shows the fields of models, and those of a model within itself once", () => {
  const schema: JsonSchema = {
    type: "object",
    properties: { lines: { type: "array", items: { $ref: "#/$defs/Line" } }, tone: { $ref: "#/$defs/Tone" } },
    required: ["lines", "tone"],
    $defs: {
      Line: {
        type: "object",
        properties: {
          text: { type: "string" },
          pages: { type: "integer" },
          under: { type: "array", items: { $ref: "#/$defs/Line" } },
        },
        required: ["text"],
      },
      Tone: { enum: ["dark", "light"], type: "string" },
    },
  };

  expect(parameters(schema).map(({ what }) => what)).toEqual([
    "list of {text: text, pages: whole number (optional), under: list of object (optional)}",
    '"dark" or "light"',
  ]);
  expect(JSON.parse(skeleton(schema))).toEqual({ lines: [{ text: "" }], tone: "dark" });
});
