import { queryOptions } from "@tanstack/react-query";
import { api, ask } from "../../api/client";
import { within } from "../../api/queries";

export function timelineQuery(organization: string, minutes: number, step: number) {
  return queryOptions({
    queryKey: within(organization, "timeline", minutes, step),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/timeline", {
          params: { path: { organization }, query: { minutes, step } },
          signal,
        }),
      ),
  });
}
