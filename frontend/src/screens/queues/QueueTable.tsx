import type { ReactNode } from "react";
import type { Schema } from "../../api/client";
import { type Column, count, EmptyState, type Source, StatusBadge, Table } from "../../ui";
import { remarks } from "./holds";
import { PausedBy } from "./PausedBy";

export type Queue = Schema["QueueView"];

interface Props {
  queues: readonly Queue[] | undefined;
  source: Source;
  /** What can be done with a queue. */
  actions?: (queue: Queue) => ReactNode;
  /** Where its name leads. */
  name: (queue: Queue) => ReactNode;
}

/** What has columns of its own where there is room for them. */
const OTHERS: readonly (readonly [name: string, of: (queue: Queue) => number])[] = [
  ["Held by a limit", (queue) => queue.limited],
  ["Waiting to retry", (queue) => queue.retrying],
  ["Not ready yet", (queue) => queue.pending],
];

/** Who paused it, what else keeps its jobs, and on a narrow screen the numbers that have no column there. */
function Beneath({ queue }: { queue: Queue }) {
  const others = OTHERS.filter(([, of]) => of(queue) > 0);
  return (
    <div className="text-xs break-words whitespace-normal text-muted">
      {queue.pause && (
        <p>
          <PausedBy pause={queue.pause} />
        </p>
      )}
      {remarks(queue).map((remark) => (
        <p key={remark} className="text-warn">
          {remark}
        </p>
      ))}
      {others.length > 0 && (
        <p className="md:hidden">
          {others.map(([name, of]) => `${name.toLowerCase()} ${count(of(queue))}`).join(" · ")}
        </p>
      )}
    </div>
  );
}

/** Queues with what waits and runs in them. */
export function QueueTable({ queues, source, actions, name }: Props) {
  const columns: Column<Queue>[] = [
    {
      head: "Queue",
      wide: true,
      cell: (queue) => (
        <div className="flex min-w-0 flex-col gap-0.5">
          <span className="inline-flex max-w-full items-center gap-2">
            {name(queue)}
            {queue.paused && <StatusBadge status="paused" />}
          </span>
          <Beneath queue={queue} />
        </div>
      ),
    },
    { head: "Running", right: true, cell: (queue) => count(queue.running) },
    { head: "Ready", right: true, cell: (queue) => count(queue.ready) },
    ...OTHERS.map(([head, of]) => ({
      head,
      right: true,
      from: "md" as const,
      cell: (queue: Queue) => count(of(queue)),
    })),
  ];
  if (actions) columns.push({ head: "Actions", right: true, cell: actions });
  return (
    <Table
      caption="Queues"
      columns={columns}
      rows={queues}
      rowKey={(queue) => queue.queue}
      source={source}
      empty={
        <EmptyState title="No queue has anything in it">
          Queues appear as soon as jobs are submitted to them.
        </EmptyState>
      }
    />
  );
}
