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
  return fieldsOf(schema, object(schema.$defs));
}

function fieldsOf(schema: JsonSchema, models: JsonSchema): Parameter[] {
  const required = list(schema.required);
  return Object.entries(object(schema.properties)).flatMap(([name, of]) =>
    typeof of === "object" && of !== null
      ? [{ name, what: words(of as JsonSchema, models), required: required.includes(name) }]
      : [],
  );
}

/** Those that have to be given, as text to be filled in. */
export function skeleton(schema: JsonSchema): string {
  return written(begun(schema, object(schema.$defs)), true);
}

function begun(schema: JsonSchema, models: JsonSchema): unknown {
  const required = new Set(list(schema.required));
  const entries = Object.entries(object(schema.properties)).filter(([name]) => required.has(name));
  return Object.fromEntries(entries.map(([name, of]) => [name, blank(object(of), models)]));
}

function words(schema: JsonSchema, models: JsonSchema): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((one) => written(one)).join(" or ");
  if (Array.isArray(schema.anyOf)) return schema.anyOf.map((one) => words(object(one), models)).join(" or ");
  if (schema.$ref) return referred(schema, models, words);
  if (schema.properties) return `{${fieldsOf(schema, models).map(field).join(", ")}}`;
  if (schema.type === "array")
    return schema.prefixItems ? fixed(schema, models) : `list of ${words(object(schema.items), models)}`;
  if (schema.contentEncoding) return "base64";
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  const said = FORMATS[String(schema.format)] ?? types.map((one) => TYPES[String(one)] ?? "any value").join(" or ");
  const bounds = BOUNDS.filter(([key]) => schema[key] !== undefined).map(([key, told]) => `${told} ${schema[key]}`);
  return [said, ...bounds].join(", ");
}

function field({ name, what, required }: Parameter): string {
  return `${name}: ${what}${required ? "" : " (optional)"}`;
}

/** What is said of a model that is referred to. Within itself it is not known, so that it is shown once. */
function referred<T>(schema: JsonSchema, models: JsonSchema, say: (model: JsonSchema, models: JsonSchema) => T): T {
  const name = String(schema.$ref).replace("#/$defs/", "");
  const { [name]: model, ...others } = models;
  return say(model === undefined ? { type: "object" } : object(model), others);
}

function fixed(schema: JsonSchema, models: JsonSchema): string {
  return `[${list(schema.prefixItems)
    .map((one) => words(object(one), models))
    .join(", ")}]`;
}

function blank(schema: JsonSchema, models: JsonSchema): unknown {
  if (schema.default !== undefined) return schema.default;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if (Array.isArray(schema.anyOf)) return blank(object(schema.anyOf[0]), models);
  if (schema.$ref) return referred(schema, models, blank);
  if (schema.type === "object") return begun(schema, models);
  if (schema.type === "array") return object(schema.items).$ref ? [blank(object(schema.items), models)] : [];
  if (schema.type === "integer") return nearZero(schema, 1);
  if (schema.type === "number") return nearZero(schema, 0.5);
  if (schema.type === "boolean") return false;
  return schema.type === undefined || schema.type === "null" ? null : "";
}

/** 0, or the number nearest to it that the bounds allow, `step` away from one that is not allowed itself. */
function nearZero(schema: JsonSchema, step: number): number {
  const bound = (key: string, otherwise: number) => (typeof schema[key] === "number" ? schema[key] : otherwise);
  const low = Math.max(bound("minimum", -Infinity), bound("exclusiveMinimum", -Infinity) + step);
  const high = Math.min(bound("maximum", Infinity), bound("exclusiveMaximum", Infinity) - step);
  return Math.max(low, Math.min(high, 0));
}

function object(value: unknown): JsonSchema {
  return typeof value === "object" && value !== null ? (value as JsonSchema) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
