import { Link } from "@tanstack/react-router";
import { short } from "../ui";

/** A job by its type and the end of its id, which leads to its page. */
export function JobLink({ job }: { job: { id: string; organization: string; job_type: string } }) {
  const { id, organization, job_type } = job;
  return (
    <Link
      to="/o/$organization/jobs/$job"
      params={{ organization, job: id }}
      title={id}
      className="inline-flex max-w-full flex-wrap items-baseline gap-x-1 font-medium hover:underline sm:flex-nowrap"
    >
      <span className="truncate">{job_type}</span>{" "}
      <span className="shrink-0 font-mono text-xs font-normal text-muted">{short(id)}</span>
    </Link>
  );
}
