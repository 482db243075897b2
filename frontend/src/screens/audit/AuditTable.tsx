import type { UseQueryResult } from "@tanstack/react-query";
import type { Schema } from "../../api/client";
import { Card, type Column, EmptyState, Mono, Pager, Table, Time } from "../../ui";
import { changesOf } from "./changes";

type Entry = Schema["AuditEntry"];

interface Props {
  found: UseQueryResult<{ items: Entry[]; next_cursor?: string | null }>;
  cursor: string | undefined;
  onCursor: (cursor: string | undefined) => void;
}

export function AuditTable({ found, cursor, onCursor }: Props) {
  const columns: Column<Entry>[] = [
    { head: "When", cell: ({ at }) => <Time at={at} /> },
    {
      head: "Who",
      cell: ({ actor }) => (
        <span className="block max-w-20 truncate font-medium sm:max-w-40" title={actor}>
          {actor}
        </span>
      ),
    },
    {
      head: "What",
      wide: true,
      cell: (entry) => (
        <div className="flex min-w-0 flex-col gap-0.5 whitespace-normal">
          <span className="flex flex-wrap items-baseline gap-x-2">
            <Mono>{entry.action}</Mono>
            <span className="text-xs break-all text-muted">{entry.subject}</span>
          </span>
          <Changes entry={entry} />
        </div>
      ),
    },
    {
      head: "From",
      from: "md",
      cell: ({ origin }) => <span className="text-xs whitespace-nowrap text-muted">{origin}</span>,
    },
  ];
  return (
    <Card flush>
      <Table
        caption="Audit"
        columns={columns}
        rows={found.data?.items}
        rowKey={({ id }) => String(id)}
        error={found.error}
        onRetry={() => void found.refetch()}
        empty={<EmptyState title="Nothing was done yet">Whatever somebody changes appears here.</EmptyState>}
      />
      <Pager
        first={cursor === undefined}
        next={found.data?.next_cursor}
        onFirst={() => onCursor(undefined)}
        onNext={onCursor}
      />
    </Card>
  );
}

function Changes({ entry: { before, after } }: { entry: Entry }) {
  const changes = changesOf(before, after);
  if (changes.length === 0) return null;
  return (
    <dl className="flex flex-wrap gap-x-3 gap-y-0.5 text-xs">
      {changes.map(({ name, from, to }) => (
        <div key={name} className="inline-flex min-w-0 flex-wrap gap-x-1">
          <dt className="text-muted">{name}</dt>
          <dd className="min-w-0 break-all">
            {from !== null && to !== null && <del className="text-muted">{from}</del>} {to ?? `was ${from}`}
          </dd>
        </div>
      ))}
    </dl>
  );
}
