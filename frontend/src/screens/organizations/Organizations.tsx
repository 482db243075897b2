import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api, ask, type Schema } from "../../api/client";
import {
  Button,
  Card,
  type Column,
  count,
  EmptyState,
  Page,
  Pager,
  RowActions,
  Search,
  StatusBadge,
  Table,
  Time,
  Trouble,
} from "../../ui";
import { sharesQuery } from "../fairness/queries";
import { type Shares, standingOf } from "../fairness/shares";
import { Deeds } from "./Deeds";
import { OrganizationForm } from "./OrganizationForm";
import type { OrganizationsSearch } from "./search";

export type Organization = Schema["Organization"];

const SHORTEST = 15; // minutes; only what is live now is shown of them
const LOOK = 15_000; // milliseconds between two looks

/** All organizations, for operators. */
export function Organizations() {
  const { text, cursor } = useSearch({ from: "/operator/" });
  const navigate = useNavigate();
  const [edited, setEdited] = useState<Organization | "new" | null>(null);
  const found = useQuery({
    queryKey: ["operator", "organizations", text, cursor],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/operator/organizations", {
          params: { query: { limit: 50, ...(text && { text }), ...(cursor && { cursor }) } },
          signal,
        }),
      ),
    placeholderData: (before) => before,
  });
  const shares = useQuery({ ...sharesQuery(SHORTEST), refetchInterval: LOOK });
  const go = (search: OrganizationsSearch, replace = false) => void navigate({ to: ".", search, replace });
  return (
    <Page
      title="Organizations"
      actions={
        <>
          <Search
            label="Find"
            hideLabel
            placeholder="Find by id or name"
            value={text}
            onChange={(next) => go(next ? { text: next } : {}, true)}
          />
          <Button look="primary" onClick={() => setEdited("new")}>
            New organization…
          </Button>
        </>
      }
    >
      {/* What runs and is in line, which stands in columns of the table. */}
      <Trouble source={shares} />
      <Card flush>
        <Table
          caption="Organizations"
          columns={columnsOf(setEdited, shares.data)}
          rows={found.data?.items}
          rowKey={({ id }) => id}
          source={found}
          empty={
            text ? (
              <EmptyState title="No organization has that in its id or name">Look for less of it.</EmptyState>
            ) : (
              <EmptyState title="No organizations yet">Jobs belong to organizations: create the first one.</EmptyState>
            )
          }
        />
        <Pager
          first={!cursor}
          next={found.data?.next_cursor}
          onFirst={() => go(text ? { text } : {})}
          onNext={(next) => go({ ...(text && { text }), cursor: next })}
        />
      </Card>
      {edited && <OrganizationForm organization={edited === "new" ? null : edited} onClose={() => setEdited(null)} />}
    </Page>
  );
}

function columnsOf(onEdit: (organization: Organization) => void, shares: Shares | undefined): Column<Organization>[] {
  const now = (id: string) => (shares ? standingOf(shares, id) : null);
  const limit = (value: number | null) => (value === null ? <span className="text-muted">–</span> : count(value));
  return [
    {
      head: "Organization",
      wide: true,
      cell: ({ id, name, status, paused }) => (
        <div className="flex min-w-0 flex-col gap-0.5">
          <span className="inline-flex max-w-full flex-wrap items-center gap-2 whitespace-normal">
            {status === "deleted" ? (
              <span className="text-muted">{name}</span>
            ) : (
              <Link
                to="/o/$organization"
                params={{ organization: id }}
                className="font-medium break-words hover:underline"
              >
                {name}
              </Link>
            )}
            {status !== "active" && <StatusBadge status={status === "deleted" ? "canceled" : status} label={status} />}
            {status === "active" && paused && <StatusBadge status="paused" />}
          </span>
          {name !== id && <span className="truncate font-mono text-xs text-muted">{id}</span>}
          <span className="text-xs text-muted sm:hidden">
            {limit(now(id)?.running ?? null)} running, <InLine standing={now(id)} /> in line
          </span>
        </div>
      ),
    },
    { head: "Running", right: true, from: "sm", cell: ({ id }) => limit(now(id)?.running ?? null) },
    { head: "In line", right: true, from: "sm", cell: ({ id }) => <InLine standing={now(id)} /> },
    { head: "Weight", right: true, from: "md", cell: ({ weight }) => count(weight) },
    { head: "Max. running", right: true, from: "md", cell: ({ max_running }) => limit(max_running) },
    { head: "Max. live jobs", right: true, from: "md", cell: ({ max_live_jobs }) => limit(max_live_jobs) },
    { head: "Created", from: "lg", cell: ({ created_at }) => <Time at={created_at} /> },
    {
      head: "Actions",
      right: true,
      cell: (organization) =>
        organization.status !== "deleted" && (
          <RowActions>
            <Button small onClick={() => onEdit(organization)} aria-label={`Limits of ${organization.name}`}>
              Limits…
            </Button>
            <Deeds organization={organization} />
          </RowActions>
        ),
    },
  ];
}

function InLine({ standing }: { standing: Shares["shares"][number]["now"] | null }) {
  if (standing === null) return <span className="text-muted">–</span>;
  return <>{count(standing.ready, standing.ready_is_capped)}</>;
}
