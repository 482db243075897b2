/** Saved views: filters that this browser remembers under a name. */
import { recall, remember } from "../../settings";
import type { JobsSearch } from "./filter";

export interface View {
  name: string;
  search: JobsSearch;
}

const KEY = "views";

export function views(): View[] {
  const kept = recall<unknown>(KEY, []);
  return Array.isArray(kept) ? kept.filter(isView) : [];
}

/** Keep a view; one of the same name is replaced. */
export function keep(view: View): View[] {
  const { cursor: _, ...search } = view.search;
  return put([...views().filter((one) => one.name !== view.name), { name: view.name, search }]);
}

export function forget(name: string): View[] {
  return put(views().filter((one) => one.name !== name));
}

function put(all: View[]): View[] {
  const sorted = all.sort((a, b) => a.name.localeCompare(b.name));
  remember(KEY, sorted);
  return sorted;
}

function isView(value: unknown): value is View {
  if (typeof value !== "object" || value === null) return false;
  const { name, search } = value as Partial<View>;
  return typeof name === "string" && typeof search === "object" && search !== null;
}
