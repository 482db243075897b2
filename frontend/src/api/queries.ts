/** Questions that several screens ask. Keys begin with the organization, so that its events find them. */
import { queryOptions } from "@tanstack/react-query";
import { api, ask, type Schema } from "./client";
import { Problem } from "./problem";

export type Me = Schema["Me"];
export type Job = Schema["Job"];
export type ListedJob = Schema["ListedJob"];
export type JobItem = Omit<ListedJob, "held_by">;
export type Right = Schema["Right"];

/** The key of all that belongs to an organization. */
export function within(organization: string, ...parts: unknown[]) {
  return ["organization", organization, ...parts] as const;
}

/** Who one is. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/sessions/current", { signal })),
  staleTime: 60_000,
});

/** Whether jobs are kept from starting everywhere. */
export const maintenanceQuery = queryOptions({
  queryKey: ["maintenance"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/maintenance", { signal })),
});

/** The organizations that one belongs to. */
export const mineQuery = queryOptions({
  queryKey: ["mine"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/organizations", { signal })),
  staleTime: 60_000,
});

/**
 * What one may in an organization; null: there is none, or one is no member of it. That is an answer like another, as it
 * has to stay on the screen while one asks again; an error would not.
 */
export function accessQuery(organization: string) {
  return queryOptions({
    queryKey: within(organization, "access"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}/access", { params: { path: { organization } }, signal })).catch(
        (error: unknown) => {
          if (error instanceof Problem && error.status === 404) return null;
          throw error;
        },
      ),
    staleTime: 30_000,
  });
}

export function organizationQuery(organization: string) {
  return queryOptions({
    queryKey: within(organization, "self"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}", { params: { path: { organization } }, signal })),
    staleTime: 30_000,
  });
}

export function jobTypesQuery(organization: string) {
  return queryOptions({
    queryKey: within(organization, "job-types"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}/job-types", { params: { path: { organization } }, signal })),
    staleTime: 60_000,
  });
}

/** Those in which the organization has live jobs. */
export function queuesQuery(organization: string, cursor?: string) {
  return queryOptions({
    queryKey: within(organization, "queues", cursor),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/queues", {
          params: { path: { organization }, query: { ...(cursor && { cursor }) } },
          signal,
        }),
      ),
  });
}

/** Job types of which nothing starts, as too much of them failed. */
export function breakersQuery(organization: string) {
  return queryOptions({
    queryKey: within(organization, "breakers"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}/breakers", { params: { path: { organization } }, signal })),
  });
}

/** Counts, and how jobs went within the last minutes. */
export function metricsQuery(organization: string, minutes: number) {
  return queryOptions({
    queryKey: within(organization, "metrics", minutes),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/metrics", {
          params: { path: { organization }, query: { minutes } },
          signal,
        }),
      ),
  });
}

export function jobQuery(organization: string, job: string) {
  return queryOptions({
    queryKey: within(organization, "job", job),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/jobs/{job}", { params: { path: { organization, job } }, signal }),
      ),
  });
}

/** What a list of jobs is filtered by; all that is absent filters nothing. */
export interface JobFilter {
  status?: Schema["JobStatus"][];
  job_type?: string;
  queue?: string;
  user?: string;
  label?: string[];
  waiting_for?: "retry";
  text?: string;
  created_after?: string;
  created_before?: string;
}

export type Order = "newest" | "oldest";

export function jobsQuery(
  organization: string,
  filter: JobFilter,
  { cursor, limit = 50, order = "newest" }: { cursor?: string | undefined; limit?: number; order?: Order } = {},
) {
  return queryOptions({
    queryKey: within(organization, "jobs", filter, cursor, limit, order),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/jobs", {
          params: { path: { organization }, query: { ...filter, order, limit, ...(cursor && { cursor }) } },
          signal,
        }),
      ),
  });
}

/** Questions of operators, which are of all organizations. */
export function allQueuesQuery(cursor?: string) {
  return queryOptions({
    queryKey: ["operator", "queues", cursor],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/operator/queues", { params: { query: { ...(cursor && { cursor }) } }, signal })),
  });
}
export const allJobTypesQuery = queryOptions({
  queryKey: ["operator", "job-types"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/job-types", { signal })),
});
export const allBreakersQuery = queryOptions({
  queryKey: ["operator", "breakers"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/breakers", { signal })),
});
