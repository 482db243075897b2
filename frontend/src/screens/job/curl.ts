import { written } from "../../api/json";
import type { Job } from "../../api/queries";

/** The command that submits a job like this one. The token stays a variable: it is nobody's to copy. */
export function curl(
  root: string,
  job: Pick<Job, "organization" | "job_type" | "parameters" | "priority" | "queue" | "labels">,
): string {
  const body = {
    job_type: job.job_type,
    parameters: job.parameters ?? {},
    priority: job.priority,
    queue: job.queue,
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
