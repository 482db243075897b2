import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Schema } from "../../api/client";
import { breakersQuery, jobTypesQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { useOrganization } from "../../shell/access";
import { Card, type Column, EmptyState, Page, StatusBadge, Table, Tag, Time } from "../../ui";
import { attempts, limits } from "./describe";

export type JobType = Schema["JobTypeView"];

/** The job types that there are, as an organization sees them. */
export function JobTypes() {
  const organization = useOrganization();
  const found = useQuery(jobTypesQuery(organization));
  const breakers = useQuery({ ...breakersQuery(organization), refetchInterval: useRefetch(2) || 15_000 });
  const name = ({ name }: JobType) => (
    <Link
      to="/o/$organization/jobs"
      params={{ organization }}
      search={{ job_type: name }}
      className="truncate font-medium hover:underline"
    >
      {name}
    </Link>
  );
  return (
    <Page title="Job types" description="What can be submitted here, and how it is run.">
      {(breakers.data?.items ?? []).map((breaker) => (
        <Resting key={breaker.job_type} organization={organization} breaker={breaker} />
      ))}
      <Card flush>
        <Table
          caption="Job types"
          columns={jobTypeColumns(name)}
          rows={found.data?.items}
          rowKey={(type) => type.name}
          error={found.error}
          onRetry={() => void found.refetch()}
          empty={<NoTypes />}
        />
      </Card>
    </Page>
  );
}

/** A type of which nothing starts, as too much of it failed. */
function Resting({ organization, breaker }: { organization: string; breaker: Schema["OpenBreaker"] }) {
  const { job_type, until, trial } = breaker;
  const failed = { job_type, status: ["dead_letter" as const] };
  return (
    <p role="status" className="rounded-lg border border-line bg-warn-soft px-4 py-3 text-sm text-warn">
      Nothing of <span className="font-semibold break-all">{job_type}</span> starts, as too much of it failed.{" "}
      {trial ? (
        <>
          <Link to="/o/$organization/jobs/$job" params={{ organization, job: trial }} className="underline">
            One job
          </Link>{" "}
          runs on trial now: if it completes, the others follow.
        </>
      ) : (
        <>
          One job is tried <Time at={until} />; if it completes, the others follow.
        </>
      )}{" "}
      <Link to="/o/$organization/jobs" params={{ organization }} search={failed} className="underline">
        What failed
      </Link>
    </p>
  );
}

export function NoTypes() {
  return <EmptyState title="No job types yet">Applications and workers register theirs when they start.</EmptyState>;
}

export function jobTypeColumns(name: (type: JobType) => ReactNode): Column<JobType>[] {
  return [
    {
      head: "Job type",
      wide: true,
      cell: (type) => (
        <div className="flex min-w-0 flex-col gap-0.5 whitespace-normal">
          <span className="inline-flex max-w-full flex-wrap items-center gap-x-2 gap-y-1 whitespace-normal">
            {name(type)}
            {type.paused && <StatusBadge status="paused" />}
            {!type.enabled && <StatusBadge status="suspended" label="disabled" />}
            {type.options.requires_permission && <Tag>{`needs ${type.options.requires_permission}`}</Tag>}
          </span>
          <span className="text-xs text-muted md:hidden">
            {type.options.queue} · {attempts(type.options)}
          </span>
        </div>
      ),
    },
    { head: "Queue", from: "sm", cell: ({ options }) => options.queue },
    {
      head: "Attempts",
      from: "md",
      cell: ({ options }) => <span className="whitespace-nowrap">{attempts(options)}</span>,
    },
    { head: "Priority", from: "lg", cell: ({ options }) => options.priority },
    { head: "Runs", from: "lg", cell: ({ options }) => (options.isolation === "auto" ? "–" : options.isolation) },
    { head: "Limit", from: "sm", cell: ({ options }) => <Limited by={limits(options)} /> },
  ];
}

function Limited({ by }: { by: string[] }) {
  if (by.length === 0) return <span className="text-muted">none</span>;
  return (
    <ul className="whitespace-nowrap">
      {by.map((one) => (
        <li key={one}>{one}</li>
      ))}
    </ul>
  );
}
