import { queryOptions } from "@tanstack/react-query";
import { api, ask, type Schema } from "../../api/client";
import { Problem } from "../../api/problem";
import { within } from "../../api/queries";

export function schedulesQuery(organization: string, cursor?: string) {
  return queryOptions({
    queryKey: within(organization, "schedules", cursor),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/schedules", {
          params: { path: { organization }, query: { limit: 50, ...(cursor && { cursor }) } },
          signal,
        }),
      ),
  });
}

export function putSchedule(organization: string, schedule: string, body: Schema["NewSchedule"]) {
  return ask(
    api.PUT("/api/v1/organizations/{organization}/schedules/{schedule}", {
      params: { path: { organization, schedule } },
      body,
    }),
  );
}

/** As `putSchedule`, which would turn one of that name into this one: whoever means to create has it refused. */
export async function createSchedule(organization: string, schedule: string, body: Schema["NewSchedule"]) {
  if (await isThere(organization, schedule))
    throw new Error(`There is a schedule ${schedule} already: change that one, or give this one another name.`);
  return putSchedule(organization, schedule, body);
}

async function isThere(organization: string, schedule: string): Promise<boolean> {
  try {
    const params = { path: { organization, schedule } };
    await ask(api.GET("/api/v1/organizations/{organization}/schedules/{schedule}", { params }));
    return true;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return false;
    throw error;
  }
}

export function pauseSchedule(organization: string, schedule: string) {
  const params = { path: { organization, schedule } };
  return ask(api.POST("/api/v1/organizations/{organization}/schedules/{schedule}/pause", { params }));
}

export function resumeSchedule(organization: string, schedule: string) {
  const params = { path: { organization, schedule } };
  return ask(api.POST("/api/v1/organizations/{organization}/schedules/{schedule}/resumption", { params }));
}

export function submitScheduledJob(organization: string, schedule: string) {
  const params = { path: { organization, schedule } };
  return ask(api.POST("/api/v1/organizations/{organization}/schedules/{schedule}/submission", { params }));
}

export function deleteSchedule(organization: string, schedule: string) {
  const params = { path: { organization, schedule } };
  return ask(api.DELETE("/api/v1/organizations/{organization}/schedules/{schedule}", { params }));
}
