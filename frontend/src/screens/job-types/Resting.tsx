import { Link } from "@tanstack/react-router";
import type { Schema } from "../../api/client";
import { Time } from "../../ui";

type Breaker = Schema["OpenBreaker"];

/** The job types that rest. */
export function Resting({ organization, breakers = [] }: { organization: string; breakers: Breaker[] | undefined }) {
  return breakers.map((breaker) => <One key={breaker.job_type} organization={organization} breaker={breaker} />);
}

/** One of which nothing starts, as too much of it failed. */
function One({ organization, breaker }: { organization: string; breaker: Breaker }) {
  const { job_type, until, trial } = breaker;
  const failed = { job_type, status: ["dead_letter" as const] };
  return (
    <p role="status" className="rounded-lg border border-line bg-warn-soft px-4 py-3 text-sm text-warn">
      Nothing of <span className="font-semibold break-all">{job_type}</span> starts, as too much of it failed.{" "}
      {trial ? (
        <>
          <Link to="/o/$organization/jobs/$job" params={{ organization, job: trial }} className="underline">
            One job
          </Link>{" "}
          runs on trial now: if it completes, the others follow.
        </>
      ) : (
        <>
          One job is tried <Time at={until} />; if it completes, the others follow.
        </>
      )}{" "}
      <Link to="/o/$organization/jobs" params={{ organization }} search={failed} className="underline">
        What failed
      </Link>
    </p>
  );
}
