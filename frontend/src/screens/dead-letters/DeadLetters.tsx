import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useRefetch } from "../../live/hooks";
import { useMay, useOrganization } from "../../shell/access";
import { Button, Card, type Column, count, EmptyState, Mono, Page, plural, Select, Table, Time } from "../../ui";
import { BulkActions } from "../jobs/BulkActions";
import { type Group, groupsQuery } from "./queries";
import { RetryGroup } from "./RetryGroup";
import { DECIDED, type Decided, type LettersSearch } from "./search";

/** Dead letters of an organization, by error. */
export function DeadLetters() {
  const organization = useOrganization();
  const { decided = "pending" } = useSearch({ from: "/o/$organization/dead-letters" });
  const navigate = useNavigate();
  const mayChange = useMay("jobs:change");
  const [retrying, setRetrying] = useState<Group | null>(null);
  const [begun, setBegun] = useState<readonly string[]>([]);
  const found = useQuery({ ...groupsQuery(organization, decided), refetchInterval: useRefetch(2) });
  const total = found.data?.items.reduce((sum, group) => sum + group.count, 0);
  const columns: Column<Group>[] = [
    {
      head: "Error",
      wide: true,
      cell: (group) => <ErrorCell group={group} organization={organization} decided={decided} />,
    },
    { head: "Jobs", right: true, cell: (group) => count(group.count) },
    { head: "First", from: "md", cell: (group) => <Time at={group.first_at} /> },
    { head: "Last", from: "sm", cell: (group) => <Time at={group.last_at} /> },
  ];
  if (mayChange && decided === "pending")
    columns.push({
      head: "Retry",
      right: true,
      cell: (group) => (
        <Button small onClick={() => setRetrying(group)} aria-label={`Retry ${group.error_type} of ${group.job_type}`}>
          Retry…
        </Button>
      ),
    });
  return (
    <Page
      title="Dead letters"
      description="Jobs that run again only if a user retries them, by their error."
      actions={
        <DecidedSelect
          value={decided}
          onChange={(next) => void navigate({ to: ".", search: next === "pending" ? {} : { decided: next } })}
        />
      }
    >
      {begun.length > 0 && <BulkActions organization={organization} begun={begun} />}
      <Card
        flush
        title={
          total === undefined
            ? "By error"
            : `${plural(total, "job")}, ${plural(found.data?.items.length ?? 0, "error")}`
        }
      >
        <Table
          caption="Dead letters by error"
          columns={columns}
          rows={found.data?.items}
          rowKey={(group) => `${group.fingerprint} ${group.job_type}`}
          source={found}
          onOpen={(group) =>
            void navigate({
              to: "/o/$organization/dead-letters/$fingerprint",
              params: { organization, fingerprint: group.fingerprint },
              search: inGroup(group, decided),
            })
          }
          empty={<None decided={decided} />}
        />
      </Card>
      {retrying && (
        <RetryGroup
          group={retrying}
          organization={organization}
          onClose={() => setRetrying(null)}
          onBegun={(action) => setBegun((before) => [...before, action])}
        />
      )}
    </Page>
  );
}

function inGroup({ job_type }: Group, decided: Decided): LettersSearch {
  return { job_type, ...(decided !== "pending" && { decided }) };
}

function ErrorCell({ group, organization, decided }: { group: Group; organization: string; decided: Decided }) {
  const type = `${group.error_type}: `; // which stands above already
  return (
    <div className="flex min-w-0 flex-col gap-0.5">
      <Link
        to="/o/$organization/dead-letters/$fingerprint"
        params={{ organization, fingerprint: group.fingerprint }}
        search={inGroup(group, decided)}
        className="truncate font-medium hover:underline"
      >
        {group.error_type}
      </Link>
      <span className="truncate text-xs text-muted" title={group.reason}>
        {group.count > 1 && group.reason !== group.error_type && "for example "}
        {group.reason.startsWith(type) ? group.reason.slice(type.length) : group.reason}
      </span>
      <span className="truncate text-muted">
        <Mono>{group.job_type}</Mono>
      </span>
    </div>
  );
}

export function DecidedSelect({ value, onChange }: { value: Decided; onChange: (next: Decided) => void }) {
  return (
    <Select
      label="What was decided"
      hideLabel
      value={value}
      onChange={(event) => onChange(event.target.value as Decided)}
    >
      {DECIDED.map(([name, label]) => (
        <option key={name} value={name}>
          {label}
        </option>
      ))}
    </Select>
  );
}

function None({ decided }: { decided: Decided }) {
  if (decided === "pending")
    return (
      <EmptyState title="No dead letters">
        Every dead letter was resolved, ignored or retried. New ones appear here as jobs fail.
      </EmptyState>
    );
  return <EmptyState title="None of these">No dead letter was decided about like this.</EmptyState>;
}
