/** The filter of the list of jobs, as it stands in the address. Pure. */
import type { JobFilter } from "../../api/queries";
import { many, one } from "../../search";

export const STATUSES = ["pending", "queued", "running", "completed", "dead_letter", "canceled"] as const;

/** Spans of time that people ask for, in milliseconds. */
export const SPANS = { "15m": 900_000, "1h": 3_600_000, "24h": 86_400_000, "7d": 604_800_000 } as const;
export type Span = keyof typeof SPANS;
export const SPAN_NAMES: Record<Span, string> = {
  "15m": "Last 15 minutes",
  "1h": "Last hour",
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
};

export interface JobsSearch {
  status?: (typeof STATUSES)[number][];
  job_type?: string;
  queue?: string;
  user?: string;
  label?: string[];
  waiting_for?: "retry";
  text?: string;
  /** A span that ends now, or a moment. */
  since?: string;
  before?: string;
  /** Left out: the newest first. */
  order?: "oldest";
  cursor?: string;
}

/** What of an address is a filter; the rest is left out. */
export function jobsSearch(search: Record<string, unknown>): JobsSearch {
  const found: JobsSearch = {};
  const statuses = STATUSES.filter((status) => many(search.status).includes(status));
  if (statuses.length > 0) found.status = statuses;
  const labels = many(search.label).filter((label) => label.includes("="));
  if (labels.length > 0) found.label = labels;
  for (const name of ["job_type", "queue", "user", "text", "since", "before", "cursor"] as const) {
    const value = one(search[name]);
    if (value !== undefined) found[name] = value;
  }
  if (one(search.waiting_for) === "retry") found.waiting_for = "retry";
  if (one(search.order) === "oldest") found.order = "oldest";
  return found;
}

/** The same for the API. `now` in milliseconds, in whole minutes, so that a list keeps its name in the cache. */
export function filterOf(search: JobsSearch, now: number): JobFilter {
  const { since, before, order: _order, cursor: _cursor, ...same } = search;
  const filter: JobFilter = { ...same };
  if (since !== undefined) {
    const span = isSpan(since) ? new Date(Math.floor(now / 60_000) * 60_000 - SPANS[since]) : new Date(since);
    if (!Number.isNaN(span.getTime())) filter.created_after = span.toISOString();
  }
  if (before !== undefined) {
    const end = new Date(before);
    if (!Number.isNaN(end.getTime())) filter.created_before = end.toISOString();
  }
  return filter;
}

export function isSpan(text: string): text is Span {
  return text in SPANS;
}

/** Whether nothing is filtered, in whatever order. */
export function isEmpty({ order: _order, cursor: _cursor, ...search }: JobsSearch): boolean {
  return Object.keys(search).length === 0;
}
