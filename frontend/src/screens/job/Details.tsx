import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Job } from "../../api/queries";
import { Card, duration, Elapsed, Facts, short, Tag, Time, words } from "../../ui";
import { waitedUntil } from "./attempts";
import { historyQuery } from "./queries";

/** What the job is. */
export function Details({ job }: { job: Job }) {
  const { data: history } = useQuery(historyQuery(job.organization, job.id));
  const started = waitedUntil(job.run_at, history?.items ?? []);
  const labels = Object.entries(job.labels);
  return (
    <Card title="Details">
      <Facts
        items={[
          ["Submitted by", job.user ?? "the system"],
          ["Submitted", <Time key="at" at={job.created_at} />],
          ["Queue", job.queue],
          ["Priority", words(job.priority)],
          Date.parse(job.run_at) - Date.parse(job.created_at) > 1000 && ["Due", <Time key="at" at={job.run_at} />],
          started !== null && ["Waited", <Elapsed key="wait" from={job.run_at} to={started} />],
          job.started_at !== null && ["Started", <Time key="at" at={job.started_at} />],
          job.finished_at !== null && ["Ended", <Time key="at" at={job.finished_at} />],
          job.started_at !== null &&
            job.finished_at !== null && ["Took", <Elapsed key="ran" from={job.started_at} to={job.finished_at} />],
          ["Attempts", `${job.attempt}`],
          ["Retries", `${job.retry_count} of ${job.max_retries ?? "unlimited"}`],
          job.next_retry_at !== null &&
            job.status === "queued" &&
            Date.parse(job.next_retry_at) > Date.now() && ["Next attempt", <Time key="at" at={job.next_retry_at} />],
          ["Timeout", job.timeout === null ? "none" : duration(job.timeout)],
          job.canceled_by !== null && ["Canceled by", job.canceled_by],
          labels.length > 0 && [
            "Labels",
            <span key="labels" className="flex min-w-0 flex-wrap gap-1">
              {labels.map(([name, value]) => (
                <Link
                  key={name}
                  to="/o/$organization/jobs"
                  params={{ organization: job.organization }}
                  search={{ label: [`${name}=${value}`] }}
                  className="max-w-full"
                >
                  <Tag whole>{`${name}=${value}`}</Tag>
                </Link>
              ))}
            </span>,
          ],
          [
            "Dependencies",
            <Link
              key="graph"
              to="/o/$organization/jobs/$job/graph"
              params={{ organization: job.organization, job: job.id }}
              className="text-accent hover:underline"
            >
              Show the graph
            </Link>,
          ],
          job.depends_on.length > 0 && [
            "Depends on",
            <span key="parents" className="flex flex-wrap gap-x-2">
              {job.depends_on.slice(0, 20).map((parent) => (
                <Link
                  key={parent}
                  to="/o/$organization/jobs/$job"
                  params={{ organization: job.organization, job: parent }}
                  title={parent}
                  className="font-mono text-xs text-accent hover:underline"
                >
                  {short(parent)}
                </Link>
              ))}
              {job.depends_on.length > 20 && <span className="text-muted">and {job.depends_on.length - 20} more</span>}
            </span>,
          ],
        ]}
      />
    </Card>
  );
}
