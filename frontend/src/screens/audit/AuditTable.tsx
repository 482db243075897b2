import type { UseQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Schema } from "../../api/client";
import { Card, type Column, cx, EmptyState, Mono, Pager, Search, Table, Time, words } from "../../ui";
import { changesOf } from "./changes";
import type { AuditSearch } from "./search";

type Entry = Schema["AuditEntry"];

interface Props {
  found: UseQueryResult<{ items: Entry[]; next_cursor?: string | null }>;
  search: AuditSearch;
  onSearch: (search: AuditSearch, replace: boolean) => void;
}

/** A page of the audit, of all that was done or of what was done to one subject. */
export function AuditTable({ found, search, onSearch }: Props) {
  const { subject, cursor } = search;
  const about = subject === undefined ? {} : { subject };
  return (
    <Card flush>
      <div className="border-b border-line p-3">
        <div className="sm:max-w-md">
          <Search
            label="Done to"
            hideLabel
            placeholder="Done to: a job's id, a user, a queue…"
            value={subject}
            onChange={(next) => onSearch(next ? { subject: next } : {}, true)}
          />
        </div>
      </div>
      <Table
        caption="Audit"
        columns={auditColumns}
        rows={found.data?.items}
        rowKey={({ id }) => String(id)}
        source={found}
        empty={
          subject === undefined ? (
            <EmptyState title="Nothing was done yet">Every change appears here.</EmptyState>
          ) : (
            <EmptyState title="Nothing was done to it">It is looked for by its whole id or name.</EmptyState>
          )
        }
      />
      <Pager
        first={cursor === undefined}
        next={found.data?.next_cursor}
        onFirst={() => onSearch(about, false)}
        onNext={(next) => onSearch({ ...about, cursor: next }, false)}
      />
    </Card>
  );
}

const columnsWith = (what: (entry: Entry) => ReactNode): readonly Column<Entry>[] => [
  { head: "When", cell: ({ at }) => <Time at={at} /> },
  {
    head: "Who",
    cell: ({ actor }) => (
      <span className="block w-max max-w-24 font-medium break-words whitespace-normal sm:max-w-40">{actor}</span>
    ),
  },
  {
    head: "What",
    wide: true,
    cell: (entry) => (
      <div className="flex min-w-0 flex-col gap-0.5 whitespace-normal">
        <span className="flex flex-wrap items-baseline gap-x-2">{what(entry)}</span>
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

const auditColumns = columnsWith((entry) => (
  <>
    <Mono>{entry.action}</Mono>
    <Subject entry={entry} />
  </>
));

/** The same where the one job that all was done to is known. */
export const jobAuditColumns = columnsWith(({ action }) => words(action.replace(/^jobs\./, "")));

/** What it was done to; a job leads to its page. */
function Subject({ entry: { organization, action, subject } }: { entry: Entry }) {
  const look = "text-xs wrap-anywhere text-muted";
  if (organization === null || !action.startsWith("jobs.")) return <span className={look}>{subject}</span>;
  return (
    <Link
      to="/o/$organization/jobs/$job"
      params={{ organization, job: subject }}
      className={cx(look, "underline underline-offset-2 hover:text-ink")}
    >
      {subject}
    </Link>
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
          <dd className="min-w-0 wrap-anywhere">
            {from !== null && to !== null && <del className="text-muted">{from}</del>} {to ?? `was ${from}`}
          </dd>
        </div>
      ))}
    </dl>
  );
}
