import type { ReactNode } from "react";
import type { Schema } from "../../api/client";
import { type Column, count, EmptyState, type Source, StatusBadge, Table } from "../../ui";

export type Queue = Schema["QueueView"];

interface Props {
  queues: readonly Queue[] | undefined;
  source: Source;
  /** What can be done with a queue. */
  actions?: (queue: Queue) => ReactNode;
  /** Where its name leads. */
  name: (queue: Queue) => ReactNode;
}

/** Queues with what waits and runs in them. */
export function QueueTable({ queues, source, actions, name }: Props) {
  const columns: Column<Queue>[] = [
    {
      head: "Queue",
      wide: true,
      cell: (queue) => (
        <span className="inline-flex max-w-full items-center gap-2">
          {name(queue)}
          {queue.paused && <StatusBadge status="paused" />}
        </span>
      ),
    },
    { head: "Running", right: true, cell: (queue) => count(queue.running) },
    { head: "Ready", right: true, cell: (queue) => count(queue.ready) },
    { head: "Held by a limit", right: true, from: "md", cell: (queue) => count(queue.limited) },
    { head: "Waiting to retry", right: true, from: "md", cell: (queue) => count(queue.retrying) },
    { head: "Not ready yet", right: true, from: "sm", cell: (queue) => count(queue.pending) },
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
