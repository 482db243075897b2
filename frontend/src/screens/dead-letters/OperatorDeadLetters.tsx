import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { api, ask } from "../../api/client";
import { Card, type Column, count, EmptyState, Mono, Page, Pager, plural, Table, Time } from "../../ui";
import type { Group } from "./queries";

/** Dead letters of all organizations that nobody has decided about; each row leads to the organization's own. */
export function OperatorDeadLetters() {
  const { cursor } = useSearch({ from: "/operator/dead-letters" });
  const navigate = useNavigate();
  const found = useQuery({
    queryKey: ["operator", "dead-letters", cursor],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/operator/dead-letter-groups", {
          params: { query: { limit: 50, ...(cursor && { cursor }) } },
          signal,
        }),
      ),
    refetchInterval: 15_000,
  });
  const page = found.data;
  return (
    <Page
      title="Dead letters"
      description="Jobs that run again only if a user retries them, by organization and error, the newest first."
    >
      <Card flush>
        <Table
          caption="Dead letters by organization and error"
          columns={columns}
          rows={page?.items}
          rowKey={({ organization, fingerprint }) => `${organization} ${fingerprint}`}
          source={found}
          onOpen={({ organization, fingerprint }) =>
            void navigate({
              to: "/o/$organization/dead-letters/$fingerprint",
              params: { organization, fingerprint },
            })
          }
          empty={
            <EmptyState title="No dead letters">
              Every dead letter of every organization was resolved, ignored or retried.
            </EmptyState>
          }
        />
        {page && (
          <Pager
            first={cursor === undefined}
            next={page.next_cursor}
            onFirst={() => void navigate({ to: ".", search: {} })}
            onNext={(next) => void navigate({ to: ".", search: { cursor: next } })}
          >
            {plural(page.total, "error", "errors", page.total_is_capped)}
            {page.total_is_capped && "; of one organization 1,000 at most"}
          </Pager>
        )}
      </Card>
    </Page>
  );
}

const columns: readonly Column<Group>[] = [
  {
    head: "Error",
    wide: true,
    cell: ({ organization, fingerprint, error_type, reason, job_type }) => (
      <div className="flex min-w-0 flex-col gap-0.5">
        <Link
          to="/o/$organization/dead-letters/$fingerprint"
          params={{ organization, fingerprint }}
          className="truncate font-medium hover:underline"
        >
          {error_type}
        </Link>
        {reason !== error_type && (
          <span className="truncate text-xs text-muted" title={reason}>
            {reason}
          </span>
        )}
        <span className="truncate text-muted">
          <Mono>{job_type}</Mono>
        </span>
        <span className="truncate text-xs text-muted sm:hidden">{organization}</span>
      </div>
    ),
  },
  {
    head: "Organization",
    from: "sm",
    cell: ({ organization }) => (
      <Link
        to="/o/$organization/dead-letters"
        params={{ organization }}
        title={organization}
        className="block max-w-48 truncate hover:underline"
      >
        {organization}
      </Link>
    ),
  },
  { head: "Jobs", right: true, cell: (group) => count(group.count, group.count_is_capped) },
  { head: "First", from: "md", cell: ({ first_at }) => <Time at={first_at} /> },
  { head: "Last", cell: ({ last_at }) => <Time at={last_at} /> },
];
