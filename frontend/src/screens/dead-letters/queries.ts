import { queryOptions } from "@tanstack/react-query";
import { api, ask, type Schema } from "../../api/client";
import { within } from "../../api/queries";
import type { Decided, LettersSearch } from "./search";

export type Group = Schema["DeadLetterGroup"];
export type Letter = Schema["DeadLetter"];

export function groupsQuery(organization: string, resolution: Decided) {
  return queryOptions({
    queryKey: within(organization, "dead-letters", "groups", resolution),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/dead-letter-groups", {
          params: { path: { organization }, query: { resolution } },
          signal,
        }),
      ),
  });
}

/** The newest of all errors that nobody has decided about. */
export function newestQuery(organization: string, limit: number) {
  return queryOptions({
    queryKey: within(organization, "dead-letters", "newest", limit),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/dead-letters", {
          params: { path: { organization }, query: { limit } },
          signal,
        }),
      ),
  });
}

/** What changes as dead letters are retried, deleted or decided about; with them goes how many are open. */
export function touchedByDeeds(organization: string) {
  return ["dead-letters", "jobs", "job-counts", "job", "metrics", "audit"].map((part) => within(organization, part));
}

export function lettersQuery(organization: string, fingerprint: string, search: LettersSearch) {
  const { decided: resolution = "pending", job_type, cursor } = search;
  return queryOptions({
    queryKey: within(organization, "dead-letters", "list", fingerprint, resolution, job_type, cursor),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/dead-letters", {
          params: {
            path: { organization },
            query: { resolution, fingerprint, limit: 50, ...(job_type && { job_type }), ...(cursor && { cursor }) },
          },
          signal,
        }),
      ),
  });
}
