import { useQuery } from "@tanstack/react-query";
import type { Job } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { Card, inLocalTime, StatusBadge, Table, Time } from "../../ui";
import { historyQuery } from "./queries";

/** The execution log: each step, who took it, and why. */
export function History({ job }: { job: Job }) {
  const found = useQuery({ ...historyQuery(job.organization, job.id), refetchInterval: useRefetch() });
  const rows = found.data && [...found.data.items].reverse();
  return (
    <Card title="History" flush>
      <Table
        caption="Each step from one status to another"
        rows={rows}
        rowKey={(entry) => String(entry.sequence)}
        {...(!found.data && { source: found })}
        columns={[
          { head: "When", cell: (entry) => <Time at={entry.at} /> },
          { head: "Status", cell: (entry) => <StatusBadge status={entry.to_status} /> },
          {
            head: "Who",
            from: "sm",
            cell: (entry) => <span className="block w-max max-w-40 wrap-anywhere">{entry.actor}</span>,
          },
          {
            head: "What",
            cell: (entry) => (
              <span className="wrap-anywhere">
                {inLocalTime(entry.message)}
                <span className="block text-xs text-muted sm:hidden">{entry.actor}</span>
              </span>
            ),
          },
        ]}
      />
      {(found.data?.items[0]?.sequence ?? 1) > 1 && (
        <p className="p-4 text-sm text-muted">Only the newest {found.data?.items.length} steps are shown.</p>
      )}
    </Card>
  );
}
