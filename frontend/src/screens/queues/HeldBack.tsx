import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Schema } from "../../api/client";
import { breakersQuery, jobTypesQuery, queuesQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { Time, Trouble } from "../../ui";

type Breaker = Schema["OpenBreaker"];

/** What keeps all jobs of a queue or a type from starting; nothing where nothing does. */
export function HeldBack({ organization }: { organization: string }) {
  const refetchInterval = useRefetch(3) || 30_000; // three lists: seldom enough for the sixty a minute that one may ask for
  const queues = useQuery({ ...queuesQuery(organization), refetchInterval });
  const breakers = useQuery({ ...breakersQuery(organization), refetchInterval });
  const types = useQuery({ ...jobTypesQuery(organization), refetchInterval });
  const paused = [
    ...(queues.data?.items ?? []).filter((queue) => queue.paused).map(({ queue }) => `queue ${queue}`),
    ...(types.data?.items ?? []).filter((type) => type.paused).map(({ name }) => `job type ${name}`),
  ];
  return (
    <>
      <Trouble source={[queues, breakers, types].find((one) => one.error) ?? queues} />
      {paused.length > 0 && (
        <p role="status" className="rounded-lg border border-line bg-warn-soft px-4 py-3 text-sm text-warn">
          Nothing of <span className="font-semibold break-words">{paused.join(", ")}</span> starts until an operator
          ends the pause.
        </p>
      )}
      <Resting organization={organization} breakers={breakers.data?.items} />
    </>
  );
}

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
