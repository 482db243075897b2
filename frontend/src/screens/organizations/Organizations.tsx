import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { api, ask } from "../../api/client";
import { Card, Page, StatusBadge, Table } from "../../ui";

/** All organizations, for operators. */
export function Organizations() {
  const found = useQuery({
    queryKey: ["operator", "organizations"],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/organizations", { signal })),
  });
  return (
    <Page title="Organizations">
      <Card flush>
        <Table
          caption="Organizations"
          rows={found.data?.items}
          rowKey={({ id }) => id}
          error={found.error}
          onRetry={() => void found.refetch()}
          columns={[
            {
              head: "Organization",
              wide: true,
              cell: ({ id, name }) => (
                <Link to="/o/$organization" params={{ organization: id }} className="font-medium hover:underline">
                  {name}
                </Link>
              ),
            },
            { head: "Status", cell: ({ status, paused }) => <StatusBadge status={paused ? "paused" : status} /> },
          ]}
        />
      </Card>
    </Page>
  );
}
