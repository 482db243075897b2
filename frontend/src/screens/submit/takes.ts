/** What a job type takes, from the JSON Schema of its parameters: in words, and as something to begin with. Pure. */
import { written } from "../../api/json";

export type JsonSchema = { [key: string]: unknown };

export interface Parameter {
  name: string;
  what: string;
  required: boolean;
}

const FORMATS: Record<string, string> = {
  date: "date, such as 2026-11-01",
  "date-time": "date and time, such as 2026-11-01T12:00:00Z",
  time: "time of day, such as 12:00:00",
  duration: "duration, such as PT90S",
  uuid: "UUID",
  password: "secret text",
};
const TYPES: Record<string, string> = {
  string: "text",
  integer: "whole number",
  number: "number",
  boolean: "true or false",
  object: "object",
  null: "null",
};
const BOUNDS: [key: string, words: string][] = [
  ["minimum", "at least"],
  ["exclusiveMinimum", "more than"],
  ["maximum", "at most"],
  ["exclusiveMaximum", "less than"],
];

/** Its parameters, in the handler's order. */
export function parameters(schema: JsonSchema): Parameter[] {
  const required = list(schema.required);
  return Object.entries(object(schema.properties)).flatMap(([name, of]) =>
    typeof of === "object" && of !== null
      ? [{ name, what: words(of as JsonSchema), required: required.includes(name) }]
      : [],
  );
}

/** Those that have to be given, as text to be filled in. */
export function skeleton(schema: JsonSchema): string {
  const required = new Set(list(schema.required));
  const entries = Object.entries(object(schema.properties)).filter(([name]) => required.has(name));
  return written(Object.fromEntries(entries.map(([name, of]) => [name, blank(object(of))])), true);
}

function words(schema: JsonSchema): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((one) => written(one)).join(" or ");
  if (Array.isArray(schema.anyOf)) return schema.anyOf.map((one) => words(object(one))).join(" or ");
  if (schema.$ref) return "object";
  if (schema.type === "array") return schema.prefixItems ? fixed(schema) : `list of ${words(object(schema.items))}`;
  if (schema.contentEncoding) return "base64";
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  const said = FORMATS[String(schema.format)] ?? types.map((one) => TYPES[String(one)] ?? "any value").join(" or ");
  const bounds = BOUNDS.filter(([key]) => schema[key] !== undefined).map(([key, told]) => `${told} ${schema[key]}`);
  return [said, ...bounds].join(", ");
}

function fixed(schema: JsonSchema): string {
  return `[${list(schema.prefixItems)
    .map((one) => words(object(one)))
    .join(", ")}]`;
}

function blank(schema: JsonSchema): unknown {
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if (Array.isArray(schema.anyOf)) return blank(object(schema.anyOf[0]));
  if (schema.$ref || schema.type === "object") return {};
  if (schema.type === "array") return [];
  if (schema.type === "integer" || schema.type === "number") return 0;
  if (schema.type === "boolean") return false;
  return schema.type === undefined || schema.type === "null" ? null : "";
}

function object(value: unknown): JsonSchema {
  return typeof value === "object" && value !== null ? (value as JsonSchema) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
