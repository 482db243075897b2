import type { Schema } from "../../api/client";
import { JobLink } from "../../shell/JobLink";
import { OrganizationId } from "../../shell/OrganizationId";
import { Card, type Column, duration, EmptyState, type Source, Table, Time } from "../../ui";

type SlowJob = Schema["SlowJob"];

interface Props {
  jobs: readonly SlowJob[] | undefined;
  /** The question that they answer. */
  source: Source;
  /** Whether they are of several organizations. */
  ofAll?: boolean;
}

/** Jobs that ended lately, the slowest first. */
export function Slowest({ jobs, source, ofAll = false }: Props) {
  const owner: Column<SlowJob> = {
    head: "Organization",
    from: "sm",
    cell: (job) => <OrganizationId organization={job.organization} />,
  };
  return (
    <Card title="Slowest jobs lately" flush>
      <Table
        caption="Slowest jobs lately"
        rows={jobs}
        rowKey={({ id }) => id}
        source={source}
        empty={<EmptyState title="None">Jobs that ended come here, the slowest first.</EmptyState>}
        columns={[
          {
            head: "Job",
            wide: true,
            cell: (job) => <JobLink job={job} />,
          },
          ...(ofAll ? [owner] : []),
          { head: "Started", right: true, from: "sm", cell: ({ started_at }) => <Time at={started_at} /> },
          {
            head: "Processing",
            right: true,
            cell: ({ seconds }) => <span className="whitespace-nowrap">{duration(seconds)}</span>,
          },
        ]}
      />
    </Card>
  );
}
