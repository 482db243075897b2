import { queryOptions } from "@tanstack/react-query";
import { api, ask } from "../../api/client";

/** Who used the workers within the last minutes, and what each organization has at work and in line now. */
export function sharesQuery(minutes: number) {
  return queryOptions({
    queryKey: ["operator", "shares", minutes],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/shares", { params: { query: { minutes } }, signal })),
  });
}
