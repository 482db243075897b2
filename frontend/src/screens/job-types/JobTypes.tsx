import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Schema } from "../../api/client";
import { breakersQuery, jobTypesQuery, metricsQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { useOrganization } from "../../shell/access";
import { SpanSelect } from "../../shell/SpanSelect";
import { USUAL } from "../../span";
import { Card, type Column, cx, duration, EmptyState, Page, plural, StatusBadge, Table, Tag, Trouble } from "../../ui";
import { Resting } from "../queues/HeldBack";
import { attempts, limitsInShort, percent, type Recent, recent, type Told, toldLimits } from "./describe";

export type JobType = Schema["JobTypeView"];

/** The job types that there are, as an organization sees them. */
export function JobTypes() {
  const organization = useOrganization();
  const { minutes = USUAL } = useSearch({ from: "/o/$organization/job-types" });
  const found = useQuery(jobTypesQuery(organization));
  const metrics = useQuery({
    ...metricsQuery(organization, minutes),
    // Ends are counted a moment after the events that tell of them.
    refetchInterval: useRefetch(2) || 15_000,
  });
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
    <Page
      title="Job types"
      description="What can be submitted here, how it is run, and how it went of late."
      actions={<SpanSelect minutes={minutes} />}
    >
      <Trouble source={breakers.error ? breakers : metrics} />
      <Resting organization={organization} breakers={breakers.data?.items} />
      <Card flush>
        <Table
          caption="Job types"
          columns={jobTypeColumns(name, metrics.data)}
          rows={found.data?.items}
          rowKey={(type) => type.name}
          source={found}
          empty={<NoTypes />}
        />
      </Card>
    </Page>
  );
}

export function NoTypes() {
  return <EmptyState title="No job types yet">Applications and workers register theirs when they start.</EmptyState>;
}

/** `metrics`: how attempts went of late; undefined: not known yet. */
export function jobTypeColumns(
  name: (type: JobType) => ReactNode,
  metrics: Schema["Metrics"] | undefined,
): Column<JobType>[] {
  const of = (type: JobType) => metrics && recent(metrics, type.name);
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
          <span className="text-xs text-muted sm:hidden">
            <InShort of={of(type)} />
          </span>
          <span className="text-xs text-muted sm:hidden">{limitsInShort(toldLimits(type))}</span>
        </div>
      ),
    },
    {
      head: "Processing, average",
      right: true,
      from: "sm",
      cell: (type) => <Processing of={of(type)} />,
    },
    { head: "Failed", right: true, from: "sm", cell: (type) => <Failed of={of(type)} /> },
    { head: "Queue", from: "sm", cell: ({ options }) => options.queue },
    { head: "Attempts", from: "md", cell: ({ options }) => <p className="min-w-28">{attempts(options)}</p> },
    { head: "Priority", from: "lg", cell: ({ options }) => options.priority },
    { head: "Runs", from: "lg", cell: ({ options }) => (options.isolation === "auto" ? "–" : options.isolation) },
    { head: "Limit", from: "sm", cell: (type) => <Limited {...toldLimits(type)} /> },
  ];
}

/** Null: nothing ended; undefined: not known yet. */
interface Of {
  of: Recent | null | undefined;
}

function Processing({ of }: Of) {
  if (of === undefined) return "…";
  if (of === null || of.average === null || of.p95 === null) return "–";
  return (
    <span className="whitespace-nowrap">
      {duration(of.average)}
      <span className="block text-xs text-muted">p95 {duration(of.p95)}</span>
    </span>
  );
}

function Failed({ of }: Of) {
  if (!of) return of === null ? "–" : "…";
  return (
    <span
      title={`of ${plural(of.attempts, "attempt")}`}
      className={cx("whitespace-nowrap", of.failureRate > 0 && "text-bad")}
    >
      {percent(of.failureRate)}
    </span>
  );
}

/** Where there is no room for columns. */
function InShort({ of }: Of) {
  if (!of) return null;
  return (
    <>
      {plural(of.attempts, "attempt")}, <Failed of={of} /> failed
      {of.average !== null && of.p95 !== null && (
        <>
          , <span className="whitespace-nowrap">{duration(of.average)} on average</span>,{" "}
          <span className="whitespace-nowrap">p95 {duration(of.p95)}</span>
        </>
      )}
    </>
  );
}

function Limited({ every, declared, own }: Told) {
  return (
    <>
      <Limits of={every} />
      {own && (
        <p className="whitespace-nowrap">
          here: <Limits of={own} />
        </p>
      )}
      {declared && (
        <p className="text-xs whitespace-nowrap text-muted">
          the application says: <Limits of={declared} />
        </p>
      )}
    </>
  );
}

function Limits({ of }: { of: string[] }) {
  return of.length === 0 ? (
    <span className="text-muted">none</span>
  ) : (
    of.map((one) => (
      <span key={one} className="block whitespace-nowrap">
        {one}
      </span>
    ))
  );
}
