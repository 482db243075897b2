import { useQuery } from "@tanstack/react-query";
import { breakersQuery, jobTypesQuery, queuesQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { Trouble } from "../../ui";
import { Resting } from "../job-types/Resting";

/** What keeps all jobs of a queue or a type from starting; nothing where nothing does. */
export function HeldBack({ organization }: { organization: string }) {
  const refetchInterval = useRefetch(2) || 15_000;
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
