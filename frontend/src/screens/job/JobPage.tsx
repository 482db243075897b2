import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { Problem } from "../../api/problem";
import { jobQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { EmptyState, ErrorState, Mono, Outdated, Page, Skeleton, type Source } from "../../ui";
import { JobBadge } from "../jobs/JobBadge";
import { untilAskedToStop } from "../jobs/looks";
import { Actions } from "./Actions";
import { Attempts } from "./Attempts";
import { Details } from "./Details";
import { Failure, HowToSee } from "./Failure";
import { Files } from "./Files";
import { History } from "./History";
import { JobAudit } from "./JobAudit";
import { Logs } from "./Logs";
import { Parameters, ResultValue } from "./Payload";
import { explanationQuery, historyQuery } from "./queries";
import { Standing } from "./Standing";

/** All about one job, live. */
export function JobPage() {
  const { organization, job: id } = useParams({ from: "/o/$organization/jobs/$job" });
  const every = useRefetch();
  const found = useQuery({
    ...jobQuery(organization, id),
    refetchInterval: ({ state }) => every || untilAskedToStop(state),
  });
  const { data: job, error } = found;
  // What stands at the top is asked for at the same time, and shown together: else it would push down what is there.
  // Once: where that failed, its parts ask again, and the page stays.
  const parts = [useQuery(historyQuery(organization, id)), useQuery(explanationQuery(organization, id))];
  const isComing = parts.some(({ isFetched }) => !isFetched);
  // No event tells of a deletion: the next answer does, whichever part asked.
  if ([found, ...parts].some(({ error }) => isGone(error)))
    return (
      <Page title="Job">
        <EmptyState title={job ? "This job was deleted" : "The organization has no such job"}>
          {job ? "A user deleted it, or" : "It may have been deleted by a user, or when"} its retention was over.
        </EmptyState>
      </Page>
    );
  if (error && !job)
    return (
      <Page title="Job">
        <ErrorState error={error} onRetry={() => void found.refetch()} />
      </Page>
    );
  if (!job || isComing) return <Skeleton rows={8} />;
  return (
    <Page
      title={job.job_type}
      mark={<JobBadge job={job} />}
      description={<Mono>{job.id}</Mono>}
      actions={<Actions job={job} />}
    >
      <Outdated source={oldest([found, ...parts])} className="rounded-lg border" />
      {job.payload_hidden && <HowToSee />}
      <div className="grid items-start gap-5 lg:grid-cols-[minmax(0,2fr)_minmax(16rem,1fr)]">
        <div className="flex min-w-0 flex-col gap-5">
          <Standing job={job} />
          <Failure job={job} />
          <ResultValue job={job} />
          <Attempts job={job} />
          <Logs job={job} />
          <History job={job} />
          <JobAudit job={job} />
        </div>
        <div className="flex min-w-0 flex-col gap-5">
          <Details job={job} />
          <Parameters job={job} />
          <Files job={job} />
        </div>
      </div>
    </Page>
  );
}

/** Whether there is no such job, or the address names none. */
function isGone(error: unknown): boolean {
  return error instanceof Problem && (error.status === 404 || error.status === 422);
}

/** What the page says once of all that it shows: of the answers that could not be refreshed the oldest; all are asked. */
function oldest(sources: readonly Source[]): Source {
  const old = sources.filter(({ error, dataUpdatedAt }) => error && dataUpdatedAt > 0);
  return {
    error: old[0]?.error,
    dataUpdatedAt: Math.min(...old.map(({ dataUpdatedAt }) => dataUpdatedAt)),
    isFetching: old.some(({ isFetching }) => isFetching),
    refetch: () => Promise.all(old.map(({ refetch }) => refetch())),
  };
}
