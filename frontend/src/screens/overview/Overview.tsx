import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { metricsQuery, organizationQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { useOrganization } from "../../shell/access";
import { Card, count, duration, EmptyState, ErrorState, Outdated, Page, STAT_LINK, Stat, Table, Time } from "../../ui";
import { newestQuery } from "../dead-letters/queries";
import type { JobsSearch } from "../jobs/filter";
import { HeldBack } from "../queues/HeldBack";
import { Quota } from "./Quota";
import { timelineQuery } from "./queries";
import { Running } from "./Running";
import { Slowest } from "./Slowest";
import { summaryOf, waitOf } from "./summary";
import { Throughput } from "./Throughput";

const MINUTES = 60;
const SLOWEST = 5;
const NEWEST = 5;
const LONGEST_QUEUED = { status: ["queued"], order: "oldest" } satisfies JobsSearch;
const ENDED = "Of the jobs that ended in the last hour; of the newest of each minute, where they are very many.";

/** How the organization's jobs are doing now, and were within the last hour. */
export function Overview() {
  const organization = useOrganization();
  const self = useQuery(organizationQuery(organization));
  // Ends are counted a moment after the events that tell of them.
  const metrics = useQuery({ ...metricsQuery(organization, MINUTES), refetchInterval: useRefetch(2) || 30_000 });
  const timeline = useQuery({ ...timelineQuery(organization, MINUTES, 1), refetchInterval: useRefetch(3) || 30_000 });
  const summary = timeline.data && summaryOf(timeline.data.steps);
  const byStatus = metrics.data?.jobs_by_status;
  const oldest = metrics.data?.oldest_queued_seconds ?? null;
  const depth = metrics.data?.dead_letter_depth ?? 0;
  const counted = metrics.data && new Date(metrics.dataUpdatedAt).toISOString();
  return (
    <Page
      title={self.data?.name ?? organization}
      description={<>Counted {counted ? <Time at={counted} /> : "now"}; rates and charts are of the last hour.</>}
    >
      {metrics.error && !metrics.data && <ErrorState error={metrics.error} onRetry={() => void metrics.refetch()} />}
      <Outdated source={metrics.error ? metrics : timeline} className="rounded-lg border" />
      {(byStatus?.queued ?? 0) + (byStatus?.running ?? 0) > 0 && <HeldBack organization={organization} />}
      <dl className="grid grid-cols-2 gap-3 md:grid-cols-3 xl:grid-cols-6">
        <Stat
          label={<ToJobs search={{ status: ["running"] }}>Running</ToJobs>}
          value={told(byStatus?.running)}
          hint={self.data?.max_running == null ? "no limit" : `of ${count(self.data.max_running)}`}
        />
        <Stat
          label={<ToJobs search={LONGEST_QUEUED}>Queued</ToJobs>}
          value={told(byStatus?.queued)}
          hint={
            <Link
              to="/o/$organization/jobs"
              params={{ organization }}
              search={{ status: ["pending"], order: "oldest" }}
              className="relative z-10 -my-1 inline-block py-1 hover:underline"
            >
              {told(byStatus?.pending)} pending
            </Link>
          }
        />
        <Stat
          label={<ToJobs search={LONGEST_QUEUED}>Oldest wait</ToJobs>}
          {...(metrics.data ? waitOf(metrics.data) : { value: "…" })}
          {...(oldest !== null && oldest > 60 && { tone: "warn" as const })}
        />
        <Stat
          label="Wait, median"
          title={ENDED}
          value={seconds(timeline.data?.wait_p50)}
          hint={`p95 ${seconds(timeline.data?.wait_p95)}`}
        />
        <Stat
          label="Processing, median"
          title={ENDED}
          value={seconds(timeline.data?.run_p50)}
          hint={`p95 ${seconds(timeline.data?.run_p95)}`}
        />
        <Stat
          label="Failed attempts"
          value={summary ? count(summary.failed) : "…"}
          hint={
            summary?.failureRate == null
              ? "nothing ended"
              : `${(summary.failureRate * 100).toFixed(1)} % of ${count(summary.completed + summary.failed)}, retried or not`
          }
          {...(summary && summary.failed > 0 && { tone: "bad" as const })}
        />
      </dl>
      <div className="grid items-start gap-5 lg:grid-cols-[minmax(0,2fr)_minmax(18rem,1fr)]">
        <div className="flex min-w-0 flex-col gap-5">
          <Running organization={organization} running={byStatus?.running ?? 0} />
          <Throughput timeline={timeline.data} error={timeline.error} />
        </div>
        <div className="flex min-w-0 flex-col gap-5">
          {self.data && metrics.data && <Quota organization={self.data} byStatus={metrics.data.jobs_by_status} />}
          <Failures organization={organization} depth={depth} />
          <Slowest jobs={metrics.data?.slowest.slice(0, SLOWEST)} source={metrics} />
        </div>
      </div>
    </Page>
  );
}

/** What a number counts, as the way to these jobs. */
function ToJobs({ search, children }: { search: JobsSearch; children: ReactNode }) {
  return (
    <Link to="/o/$organization/jobs" params={{ organization: useOrganization() }} search={search} className={STAT_LINK}>
      {children}
    </Link>
  );
}

function told(value: number | undefined): string {
  return value === undefined ? "…" : count(value);
}

function seconds(value: number | null | undefined): string {
  if (value === undefined) return "…";
  return value === null ? "–" : duration(value);
}

/** The newest dead letters that nobody has decided about. */
function Failures({ organization, depth }: { organization: string; depth: number }) {
  const found = useQuery({ ...newestQuery(organization, NEWEST), refetchInterval: useRefetch(3) });
  return (
    <Card
      title="Dead letters"
      flush
      actions={
        depth > 0 && (
          <Link
            to="/o/$organization/dead-letters"
            params={{ organization }}
            className="text-xs text-accent hover:underline"
          >
            {count(depth)} open
          </Link>
        )
      }
    >
      <Table
        caption="The newest dead letters"
        rows={found.data?.items}
        rowKey={(letter) => letter.job_id}
        source={found}
        empty={<EmptyState title="None">Jobs that can't be saved by a retry come here.</EmptyState>}
        columns={[
          {
            head: "Job",
            wide: true,
            cell: ({ job_id, job_type, reason }) => (
              <>
                <Link
                  to="/o/$organization/jobs/$job"
                  params={{ organization, job: job_id }}
                  className="font-medium hover:underline"
                >
                  {job_type}
                </Link>
                <p className="truncate text-xs text-bad">{reason}</p>
              </>
            ),
          },
          { head: "When", right: true, cell: ({ entered_at }) => <Time at={entered_at} /> },
        ]}
      />
    </Card>
  );
}
