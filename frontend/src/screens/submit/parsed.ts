import { read } from "../../api/json";

/** A JSON object, or undefined where the text is none. */
export function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value = read(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
