/** What is asked about one job. Keys begin with that of the job, so that a change of it asks all of them again. */
import { type QueryClient, queryOptions } from "@tanstack/react-query";
import { api, ask, type Schema } from "../../api/client";
import { within } from "../../api/queries";

const LINES = 1000; // a page of log lines
const ENTRIES = 20; // of the audit that a job's page shows

const path = (organization: string, job: string) => ({ params: { path: { organization, job } } });

export function historyQuery(organization: string, job: string) {
  return queryOptions({
    queryKey: within(organization, "job", job, "history"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}/jobs/{job}/history", { ...path(organization, job), signal })),
  });
}

export function explanationQuery(organization: string, job: string) {
  return queryOptions({
    queryKey: within(organization, "job", job, "explanation"),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/jobs/{job}/explanation", { ...path(organization, job), signal }),
      ),
  });
}

export function resultQuery(organization: string, job: string) {
  return queryOptions({
    queryKey: within(organization, "job", job, "result"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}/jobs/{job}/result", { ...path(organization, job), signal })),
  });
}

export function filesQuery(organization: string, job: string) {
  return queryOptions({
    queryKey: within(organization, "job", job, "files"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}/jobs/{job}/artifacts", { ...path(organization, job), signal })),
  });
}

export function auditQuery(organization: string, job: string) {
  return queryOptions({
    // As the audit's own screen calls it. A list may be asked for less often than what belongs to one job.
    queryKey: within(organization, "audit", { subject: job }),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/audit", {
          params: { path: { organization }, query: { subject: job, limit: ENTRIES } },
          signal,
        }),
      ),
    staleTime: 30_000,
  });
}

export interface Lines {
  lines: Schema["LogLine"][];
  hidden: boolean;
}

/** Log lines: each time only those that came after the ones that are there. */
export function linesQuery(queries: QueryClient, organization: string, job: string) {
  const queryKey = within(organization, "job", job, "lines");
  return queryOptions({
    queryKey,
    queryFn: async ({ signal }): Promise<Lines> => {
      const lines = [...(queries.getQueryData<Lines>(queryKey)?.lines ?? [])];
      for (;;) {
        const page = await ask(
          api.GET("/api/v1/organizations/{organization}/jobs/{job}/logs", {
            params: { path: { organization, job }, query: { after: lines.length, limit: LINES } },
            signal,
          }),
        );
        if (page.items === null) return { lines: [], hidden: true };
        lines.push(...page.items);
        if (page.items.length < LINES) return { lines, hidden: false };
      }
    },
    // They are only ever added to.
    structuralSharing: false,
  });
}
