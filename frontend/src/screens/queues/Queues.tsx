import { queryOptions, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { api, ask } from "../../api/client";
import { within } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { useOrganization } from "../../shell/access";
import { Card, Page } from "../../ui";
import { QueueTable } from "./QueueTable";

function queuesQuery(organization: string) {
  return queryOptions({
    queryKey: within(organization, "queues"),
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/organizations/{organization}/queues", { params: { path: { organization } }, signal })),
  });
}

/** The queues in which an organization has live jobs. */
export function Queues() {
  const organization = useOrganization();
  const found = useQuery({ ...queuesQuery(organization), refetchInterval: useRefetch(2) });
  return (
    <Page title="Queues" description="Where this organization has jobs that have not ended.">
      <Card flush>
        <QueueTable
          queues={found.data?.items}
          source={found}
          name={({ queue }) => (
            <Link
              to="/o/$organization/jobs"
              params={{ organization }}
              search={{ queue }}
              className="truncate font-medium hover:underline"
            >
              {queue}
            </Link>
          )}
        />
      </Card>
    </Page>
  );
}
