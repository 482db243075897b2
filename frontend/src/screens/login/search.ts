import { one } from "../../search";

export interface LoginSearch {
  /** Where to go afterwards: an address of the dashboard. */
  next?: string;
  /** Why a one-time link did not log in. */
  link?: string;
}

export function loginSearch(search: Record<string, unknown>): LoginSearch {
  const next = one(search.next);
  const link = one(search.link);
  return { ...(next !== undefined && { next }), ...(link !== undefined && { link }) };
}

/** Where to go after the login: `next` as it stands below `base`, never to another site, whatever the address says. */
export function inside(next: string | undefined, base: URL): string {
  if (next === undefined) return base.pathname;
  const path = next.replace(/^[/\\]+/, "");
  const found = URL.canParse(path, base) ? new URL(path, base) : base;
  const isOurs = found.origin === base.origin && found.pathname.startsWith(base.pathname);
  return isOurs ? found.pathname + found.search : base.pathname;
}
