import { written } from "../../api/json";
import type { Job } from "../../api/queries";

type Copied =
  | "organization"
  | "job_type"
  | "parameters"
  | "priority"
  | "queue"
  | "labels"
  | "created_at"
  | "run_at"
  | "depends_on"
  | "max_retries"
  | "timeout";

/** The command that submits a job like this one. The token stays a variable: it is nobody's to copy. */
export function curl(root: string, job: Pick<Job, Copied>): string {
  const isLater = Date.parse(job.run_at) - Date.parse(job.created_at) > 1000;
  const body = {
    job_type: job.job_type,
    parameters: job.parameters ?? {},
    priority: job.priority,
    queue: job.queue,
    max_retries: job.max_retries,
    timeout: job.timeout,
    ...(isLater && { run_at: job.run_at }),
    ...(job.depends_on.length > 0 && { depends_on: job.depends_on }),
    ...(Object.keys(job.labels).length > 0 && { labels: job.labels }),
  };
  const url = `${root.replace(/\/$/, "")}/api/v1/organizations/${encodeURIComponent(job.organization)}/jobs`;
  return [
    `curl ${quoted(url)}`,
    '-H "Authorization: Bearer $FAIRLANE_TOKEN"',
    "-H 'Content-Type: application/json'",
    `-d ${quoted(written(body))}`,
  ].join(" \\\n  ");
}

/** As a shell takes it literally, whatever is in it. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
