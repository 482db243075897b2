import { read } from "../../api/json";

/** The parameters that were typed; a sentence where they are none. Pure. */
export function parametersOf(text: string): Record<string, unknown> | string {
  let value: unknown;
  try {
    value = read(text);
  } catch (error) {
    return `This is not JSON: ${error instanceof Error ? error.message : "it can't be read"}.`;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return 'Parameters are an object: {"name": value}.';
  return value as Record<string, unknown>;
}
