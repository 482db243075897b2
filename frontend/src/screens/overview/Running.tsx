import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { jobsQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { JobLink } from "../../shell/JobLink";
import { Card, count, Elapsed, EmptyState, Progress, StatusBadge, short, Table } from "../../ui";

const SHOWN = 10;

/**
 * What runs now, and how far it is.
 *
 * `running` is how many ran when they were counted: short ones have ended before they are listed.
 */
export function Running({ organization, running }: { organization: string; running: number }) {
  const navigate = useNavigate();
  const found = useQuery({
    ...jobsQuery(organization, { status: ["running"] }, { limit: SHOWN }),
    refetchInterval: useRefetch(),
  });
  // One that has ended meanwhile leaves at once, before the list is asked for anew.
  const rows = found.data?.items.filter((job) => job.status === "running");
  const more = (found.data?.total ?? 0) - (found.data?.items.length ?? 0);
  return (
    <Card
      title="Running now"
      flush
      actions={
        more > 0 && (
          <Link
            to="/o/$organization/jobs"
            params={{ organization }}
            search={{ status: ["running"] }}
            className="text-xs text-accent hover:underline"
          >
            and {count(more, found.data?.total_is_capped)} more
          </Link>
        )
      }
    >
      <Table
        caption="Jobs that run now"
        rows={rows}
        rowKey={(job) => job.id}
        source={found}
        onOpen={(job) => void navigate({ to: "/o/$organization/jobs/$job", params: { organization, job: job.id } })}
        empty={
          running > 0 ? (
            <EmptyState title="Too short to list">The jobs that were counted have ended meanwhile.</EmptyState>
          ) : (
            <EmptyState title="Nothing runs">Jobs appear here as soon as a worker starts them.</EmptyState>
          )
        }
        columns={[
          {
            head: "Job",
            cell: (job) => (
              <div className="max-w-24 sm:max-w-none">
                <JobLink job={job} />
              </div>
            ),
          },
          {
            head: "Progress",
            wide: true,
            cell: (job) => (
              <>
                <Progress percent={job.progress} label={`Progress of ${job.job_type} ${short(job.id)}`} />
                {job.progress_message && <p className="truncate text-xs text-muted">{job.progress_message}</p>}
              </>
            ),
          },
          {
            head: "State",
            from: "md",
            cell: (job) => (job.cancel_requested_at ? <StatusBadge status="stopping" /> : null),
          },
          { head: "For", right: true, cell: (job) => <Elapsed from={job.started_at} /> },
        ]}
      />
    </Card>
  );
}
