import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api, ask, type Schema } from "../../api/client";
import { Button, Card, type Column, count, EmptyState, Page, Pager, Search, StatusBadge, Table, Time } from "../../ui";
import { Deeds } from "./Deeds";
import { OrganizationForm } from "./OrganizationForm";
import type { OrganizationsSearch } from "./search";

export type Organization = Schema["Organization"];

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
  const go = (search: OrganizationsSearch) => void navigate({ to: ".", search, replace: true });
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
            onChange={(next) => go(next ? { text: next } : {})}
          />
          <Button look="primary" onClick={() => setEdited("new")}>
            New organization…
          </Button>
        </>
      }
    >
      <Card flush>
        <Table
          caption="Organizations"
          columns={columnsOf(setEdited)}
          rows={found.data?.items}
          rowKey={({ id }) => id}
          error={found.error}
          onRetry={() => void found.refetch()}
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

function columnsOf(onEdit: (organization: Organization) => void): Column<Organization>[] {
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
        </div>
      ),
    },
    { head: "Weight", right: true, from: "sm", cell: ({ weight }) => count(weight) },
    { head: "Max. running", right: true, from: "md", cell: ({ max_running }) => limit(max_running) },
    { head: "Max. live jobs", right: true, from: "md", cell: ({ max_live_jobs }) => limit(max_live_jobs) },
    { head: "Created", from: "lg", cell: ({ created_at }) => <Time at={created_at} /> },
    {
      head: "Actions",
      right: true,
      cell: (organization) =>
        organization.status !== "deleted" && (
          <span className="inline-flex flex-wrap justify-end gap-1.5 sm:flex-nowrap">
            <Button small onClick={() => onEdit(organization)} aria-label={`Limits of ${organization.name}`}>
              Limits…
            </Button>
            <Deeds organization={organization} />
          </span>
        ),
    },
  ];
}
