import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { queuesQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { useOrganization } from "../../shell/access";
import { usePaging } from "../../shell/paging";
import { Card, Page, Pager } from "../../ui";
import { HeldBack } from "./HeldBack";
import { QueueTable } from "./QueueTable";

/** The queues in which an organization has live jobs. */
export function Queues() {
  const organization = useOrganization();
  const { cursor, onCursor } = usePaging();
  const found = useQuery({ ...queuesQuery(organization, cursor), refetchInterval: useRefetch(2) });
  return (
    <Page title="Queues" description="Where this organization has jobs that have not ended.">
      <HeldBack organization={organization} />
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
        <Pager
          first={cursor === undefined}
          next={found.data?.next_cursor}
          onFirst={() => onCursor(undefined)}
          onNext={onCursor}
        />
      </Card>
    </Page>
  );
}
