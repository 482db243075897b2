import { useQuery } from "@tanstack/react-query";
import { allQueuesQuery } from "../../api/queries";
import { usePaging } from "../../shell/paging";
import { Card, Page, Pager } from "../../ui";
import { PauseButton } from "./Pausing";
import { QueueTable } from "./QueueTable";

/** The queues of all organizations. */
export function OperatorQueues() {
  const { cursor, onCursor } = usePaging();
  const found = useQuery({ ...allQueuesQuery(cursor), refetchInterval: 10_000 });
  return (
    <Page title="Queues" description="Of all organizations together. A pause holds for each of them.">
      <Card flush>
        <QueueTable
          queues={found.data?.items}
          source={found}
          name={({ queue }) => <span className="truncate font-medium">{queue}</span>}
          actions={({ queue, paused }) => <PauseButton kind="queue" name={queue} paused={paused} />}
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
