import { queryOptions, useQuery } from "@tanstack/react-query";
import { Link, type LinkProps, useNavigate } from "@tanstack/react-router";
import { api, ask, type Schema } from "../../api/client";
import { JobLink } from "../../shell/JobLink";
import {
  Card,
  type Column,
  count,
  Elapsed,
  EmptyState,
  ErrorState,
  Outdated,
  Page,
  Progress,
  STAT_LINK,
  Stat,
  short,
  Table,
} from "../../ui";
import { Hindrances } from "./Hindrances";
import { summaryOf, waitOf } from "./summary";
import { Throughput } from "./Throughput";

type Running = Schema["RunningJob"];

const SHOWN = 20;

const metricsQuery = queryOptions({
  queryKey: ["operator", "metrics"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/metrics", { signal })),
});
const timelineQuery = queryOptions({
  queryKey: ["operator", "timeline"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/timeline", { signal })),
});
const runningQuery = queryOptions({
  queryKey: ["operator", "running-jobs"],
  queryFn: ({ signal }) =>
    ask(api.GET("/api/v1/operator/running-jobs", { params: { query: { limit: SHOWN } }, signal })),
});

/** How the jobs of all organizations are doing now, and were within the last hour. */
export function OperatorOverview() {
  const metrics = useQuery({ ...metricsQuery, refetchInterval: 15_000 });
  const timeline = useQuery({ ...timelineQuery, refetchInterval: 15_000 });
  const { jobs_by_status: byStatus, oldest_queued_seconds: oldest, dead_letter_depth: depth } = metrics.data ?? {};
  const ended = timeline.data && summaryOf(timeline.data.steps);
  return (
    <Page title="Overview" description="Of all organizations together; attempts and the chart are of the last hour.">
      {metrics.error && !metrics.data && <ErrorState error={metrics.error} onRetry={() => void metrics.refetch()} />}
      <Outdated source={metrics.error ? metrics : timeline} className="rounded-lg border" />
      <Hindrances workers={metrics.data?.workers} queued={byStatus?.queued ?? 0} />
      <dl className="grid grid-cols-2 gap-3 md:grid-cols-3 xl:grid-cols-5">
        <Stat label={<To to="/operator/workers">Running</To>} value={told(byStatus?.running)} />
        <Stat
          label={<To to="/operator/queues">Queued</To>}
          value={told(byStatus?.queued)}
          hint={`${told(byStatus?.pending)} pending`}
        />
        <Stat
          label={<To to="/operator/fairness">Oldest wait</To>}
          {...(metrics.data ? waitOf(metrics.data) : { value: "…" })}
          {...(oldest != null && oldest > 60 && { tone: "warn" as const })}
        />
        <Stat
          label={<To to="/operator/job-types">Failed attempts</To>}
          value={told(ended?.failed)}
          hint={`${told(ended?.completed)} completed`}
        />
        <Stat
          label={<To to="/operator/dead-letters">Dead letters</To>}
          value={told(depth)}
          hint="open"
          {...(depth !== undefined && depth > 0 && { tone: "bad" as const })}
        />
      </dl>
      <RunningJobs />
      <Throughput timeline={timeline.data} error={timeline.error} />
    </Page>
  );
}

/** Where one sees what makes up a number. */
function To({ to, children }: { to: NonNullable<LinkProps["to"]>; children: string }) {
  return (
    <Link to={to} className={STAT_LINK}>
      {children}
    </Link>
  );
}

function told(value: number | undefined): string {
  return value === undefined ? "…" : count(value);
}

function RunningJobs() {
  const navigate = useNavigate();
  const found = useQuery({ ...runningQuery, refetchInterval: 5_000 });
  return (
    <Card title="Longest running" flush>
      <Table
        caption="Jobs that run longest"
        columns={COLUMNS}
        rows={found.data?.items}
        rowKey={({ id }) => id}
        source={found}
        onOpen={({ organization, id }) =>
          void navigate({ to: "/o/$organization/jobs/$job", params: { organization, job: id } })
        }
        empty={<EmptyState title="Nothing runs">Jobs appear here as soon as a worker starts them.</EmptyState>}
      />
    </Card>
  );
}

const COLUMNS: readonly Column<Running>[] = [
  {
    head: "Job",
    wide: true,
    cell: (job) => (
      <>
        <JobLink job={job} />
        <p className="truncate text-xs text-muted">{job.organization}</p>
      </>
    ),
  },
  {
    head: "Progress",
    from: "sm",
    cell: ({ id, progress }) => (
      <span className="block w-32">
        <Progress percent={progress} label={`Progress of ${short(id)}`} />
      </span>
    ),
  },
  {
    head: "Worker",
    from: "md",
    cell: ({ worker }) => <span className="block max-w-48 truncate text-muted">{worker ?? "–"}</span>,
  },
  { head: "For", right: true, cell: ({ started_at }) => <Elapsed from={started_at} /> },
];
