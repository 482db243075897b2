import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Schema } from "../../api/client";
import { breakersQuery, jobTypesQuery, queuesQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { BANNER, Time, Trouble } from "../../ui";
import type { JobsSearch } from "../jobs/filter";
import { withoutWorker } from "./holds";
import { PausedBy } from "./PausedBy";

type Breaker = Schema["OpenBreaker"];

/** What keeps all jobs of a queue or a type from starting; nothing where nothing does. */
export function HeldBack({ organization }: { organization: string }) {
  const refetchInterval = useRefetch(3) || 30_000; // three lists: seldom enough for the sixty a minute that one may ask for
  const queues = useQuery({ ...queuesQuery(organization), refetchInterval });
  const breakers = useQuery({ ...breakersQuery(organization), refetchInterval });
  const types = useQuery({ ...jobTypesQuery(organization), refetchInterval });
  const paused = [
    ...(queues.data?.items ?? []).map(({ queue, pause }) => ({ what: `queue ${queue}`, pause })),
    ...(types.data?.items ?? []).map(({ name, pause }) => ({ what: `job type ${name}`, pause })),
  ].filter(({ pause }) => pause);
  const missing = withoutWorker(queues.data?.items ?? []);
  return (
    <>
      <Trouble source={[queues, breakers, types].find((one) => one.error) ?? queues} />
      {missing.length > 0 && (
        <div role="status" className={BANNER}>
          {missing.map((sentence) => (
            <p key={sentence} className="break-words">
              {sentence}
            </p>
          ))}
          <p>Ask an operator for one; when it is there, they start by themselves.</p>
        </div>
      )}
      {paused.length > 0 && (
        <div className={BANNER}>
          <p role="status">
            Nothing of <span className="font-semibold break-words">{paused.map(({ what }) => what).join(", ")}</span>{" "}
            starts until an operator ends the pause.
          </p>
          {/* Beside what is said aloud: it would be said anew each second. */}
          <ul>
            {paused.map(({ what, pause }) => (
              <li key={what} className="break-words">
                {what}: <PausedBy pause={pause} />
              </li>
            ))}
          </ul>
        </div>
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
  // Apart: dead letters are kept, so of both by age the first were those of months ago.
  const dead: JobsSearch = { job_type, status: ["dead_letter"] };
  // What waits for a retry is mostly older than what waits behind it.
  const waiting: JobsSearch = { job_type, status: ["queued"], order: "oldest" };
  return (
    <p className={BANNER}>
      <span role="status">
        Nothing of <span className="font-semibold break-all">{job_type}</span> starts, as too much of it failed.
      </span>{" "}
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
      See its{" "}
      <Link to="/o/$organization/jobs" params={{ organization }} search={dead} className="underline">
        dead letters
      </Link>{" "}
      and{" "}
      <Link to="/o/$organization/jobs" params={{ organization }} search={waiting} className="underline">
        what waits
      </Link>
      .
    </p>
  );
}
