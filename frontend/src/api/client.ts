import createClient from "openapi-fetch";
import { exact, written } from "./json";
import { problemOf, UNREACHABLE } from "./problem";
import type { components, paths } from "./schema";
import { inSession } from "./session";

/** Below which path the dashboard is served: the server writes it into the page. */
export const BASE = new URL(document.baseURI);

/** The REST API, with the types of its OpenAPI document. */
export const api = createClient<paths>({
  baseUrl: BASE.href.replace(/\/$/, ""),
  credentials: "same-origin",
  fetch: async (request) => exact(await inSession(request)),
  bodySerializer: (body) => written(body),
});

export type Schema = components["schemas"];

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What the API answers; a Problem is thrown for anything but success. */
export async function ask<T>(call: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await call.catch((cause: unknown) => {
    throw cause instanceof DOMException && cause.name === "AbortError" ? cause : UNREACHABLE;
  });
  if (!response.ok) throw problemOf(response, error);
  return data as T;
}

/** The address of something below the API, for links and downloads. */
export function address(...parts: string[]): string {
  return new URL(`api/v1/${parts.map(encodeURIComponent).join("/")}`, BASE).href;
}
