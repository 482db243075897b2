import { useQuery } from "@tanstack/react-query";
import { Link, type LinkProps } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { allBreakersQuery, allJobTypesQuery, allQueuesQuery } from "../../api/queries";
import { BANNER, someOf, Trouble } from "../../ui";
import { withoutWorker } from "../queues/holds";

/** Why jobs wait that nothing of their own holds back, of all organizations; nothing where none waits. */
export function Hindrances({ workers, queued }: { workers: number | null | undefined; queued: number }) {
  if (workers === 0)
    return (
      <Hindrance to="/operator/workers" where="Workers">
        <span className="font-semibold">No worker is alive:</span> nothing runs until one is started.
      </Hindrance>
    );
  return queued > 0 && <Held />;
}

/** What has no worker, what is paused, and what rests. */
function Held() {
  const refetchInterval = 30_000; // what is live is counted for queues, however much it is
  const queues = useQuery({ ...allQueuesQuery(), refetchInterval });
  const types = useQuery({ ...allJobTypesQuery, refetchInterval });
  const breakers = useQuery({ ...allBreakersQuery, refetchInterval });
  const pausedQueues = (queues.data?.items ?? []).filter(({ paused }) => paused).map(({ queue }) => queue);
  const pausedTypes = (types.data?.items ?? []).filter(({ paused }) => paused).map(({ name }) => name);
  const resting = (breakers.data?.items ?? []).map(({ job_type, organization }) => `${job_type} of ${organization}`);
  return (
    <>
      <Trouble source={[queues, types, breakers].find((one) => one.error) ?? queues} />
      {withoutWorker(queues.data?.items ?? []).map((sentence) => (
        <Hindrance key={sentence} to="/operator/workers" where="Workers">
          {sentence}
        </Hindrance>
      ))}
      {pausedQueues.length > 0 && (
        <Hindrance to="/operator/queues" where="Queues">
          Nothing starts from <Names of={pausedQueues} /> until an operator ends the pause.
        </Hindrance>
      )}
      {pausedTypes.length > 0 && (
        <Hindrance to="/operator/job-types" where="Job types">
          Nothing of <Names of={pausedTypes} /> starts until an operator ends the pause.
        </Hindrance>
      )}
      {resting.length > 0 && (
        <Hindrance to="/operator/job-types" where="Circuit breakers">
          Nothing of <Names of={resting} /> starts, as too much of it failed.
        </Hindrance>
      )}
    </>
  );
}

function Names({ of }: { of: readonly string[] }) {
  return <span className="font-semibold break-words">{someOf(of, 5)}</span>;
}

function Hindrance({ to, where, children }: { to: NonNullable<LinkProps["to"]>; where: string; children: ReactNode }) {
  return (
    <p role="status" className={BANNER}>
      {children}{" "}
      <Link to={to} className="underline">
        {where}
      </Link>
    </p>
  );
}
