/** Many jobs at once: what is chosen one by one, or all that fit the filter, worked off request by request. */
import { api, ask } from "../../api/client";
import { patiently } from "../../api/patience";
import { Problem } from "../../api/problem";
import type { JobFilter } from "../../api/queries";
import type { Outcome } from "./workOff";

export type BulkAction = "cancel" | "retry";

/** With all that fit the filter; with `dry_run` it only says how many they are. */
export function actOnAll(
  organization: string,
  action: BulkAction,
  filter: JobFilter,
  options: { dry_run?: boolean; cursor?: string | null },
) {
  return ask(
    api.POST("/api/v1/organizations/{organization}/bulk-actions", {
      params: { path: { organization } },
      body: { action, filter, dry_run: options.dry_run ?? false, cursor: options.cursor ?? null },
    }),
  );
}

/** With these jobs, one after the other. */
export async function actOnEach(
  organization: string,
  action: BulkAction,
  ids: readonly string[],
  told: (outcome: Outcome) => void,
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
      outcome.refusals = [...new Set([...outcome.refusals, error.detail])].slice(0, 3);
    }
    told({ ...outcome });
  }
  return outcome;
}

function actOn(organization: string, action: BulkAction, job: string): Promise<unknown> {
  const params = { path: { organization, job } };
  return action === "cancel"
    ? ask(api.POST("/api/v1/organizations/{organization}/jobs/{job}/cancellation", { params }))
    : ask(api.POST("/api/v1/organizations/{organization}/jobs/{job}/retry", { params }));
}
