/** Many jobs at once: what is chosen one by one, or all that fit the filter, which the server works off by itself. */
import { queryOptions } from "@tanstack/react-query";
import { api, ask, type Schema } from "../../api/client";
import { patiently } from "../../api/patience";
import { Problem } from "../../api/problem";
import { type JobFilter, within } from "../../api/queries";
import { isWorking, TOLD } from "./told";

export type BulkAction = "cancel" | "retry";

/** What was done with jobs that were chosen. */
export interface Outcome {
  changed: number;
  refused: number;
  /** Why the first of them were refused. */
  refusals: string[];
}

const LOOK = 30_000; // milliseconds between looks whether somebody has begun one
const STEP = 2_000; // milliseconds between looks how far one has come

/** How many jobs it would be. */
export function countFitting(organization: string, action: BulkAction, filter: Schema["BulkFilter"]) {
  return ask(
    api.POST("/api/v1/organizations/{organization}/bulk-actions/count", {
      params: { path: { organization } },
      body: { action, filter },
    }),
  );
}

/** Begin with all that fit the filter. */
export function start(organization: string, action: BulkAction, filter: JobFilter) {
  return ask(
    api.POST("/api/v1/organizations/{organization}/bulk-actions", {
      params: { path: { organization } },
      body: { action, filter },
    }),
  );
}

export function stop(organization: string, bulk_action: string) {
  return ask(
    api.POST("/api/v1/organizations/{organization}/bulk-actions/{bulk_action}/stop", {
      params: { path: { organization, bulk_action } },
    }),
  );
}

/** What goes on, and what has ended lately; often while something goes on. */
export function bulkQuery(organization: string) {
  return queryOptions({
    queryKey: within(organization, "bulk-actions"),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/bulk-actions", {
          params: { path: { organization }, query: { limit: 100 } },
          signal,
        }),
      ),
    refetchInterval: ({ state }) => (state.data?.items.some(isWorking) ? STEP : LOOK),
  });
}

/** With these jobs, one after the other. */
export async function actOnEach(
  organization: string,
  action: BulkAction,
  ids: readonly string[],
  hear: (outcome: Outcome) => void,
  signal: AbortSignal,
): Promise<Outcome> {
  const outcome: Outcome = { changed: 0, refused: 0, refusals: [] };
  for (const job of ids) {
    if (signal.aborted) break;
    try {
      await patiently(() => actOn(organization, action, job), signal);
      outcome.changed += 1;
    } catch (error) {
      if (!(error instanceof Problem) || error.isPassing || error.status === 401) throw error;
      outcome.refused += 1;
      outcome.refusals = [...new Set([...outcome.refusals, error.detail])].slice(0, TOLD);
    }
    hear({ ...outcome });
  }
  return outcome;
}

function actOn(organization: string, action: BulkAction, job: string): Promise<unknown> {
  const params = { path: { organization, job } };
  return action === "cancel"
    ? ask(api.POST("/api/v1/organizations/{organization}/jobs/{job}/cancellation", { params }))
    : ask(api.POST("/api/v1/organizations/{organization}/jobs/{job}/retry", { params }));
}
