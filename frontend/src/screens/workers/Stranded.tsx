import { useQuery } from "@tanstack/react-query";
import { api, ask } from "../../api/client";
import { useRefetch } from "../../live/hooks";
import { plural, Trouble } from "../../ui";

/** Jobs that no live worker could claim; nothing where there are none, as far as one knows. */
export function Stranded() {
  const every = useRefetch(2) || 10_000;
  const found = useQuery({
    queryKey: ["operator", "stranded"],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/stranded-jobs", { signal })),
    refetchInterval: every,
  });
  const items = found.data?.items ?? [];
  if (items.length === 0) return <Trouble source={found} />;
  return (
    <div
      role="status"
      className="flex flex-col gap-1 rounded-lg border border-line bg-warn-soft px-4 py-3 text-sm text-warn"
    >
      <p className="font-semibold">Jobs wait for which there is no worker</p>
      <ul className="flex flex-col gap-0.5">
        {items.map((one) => (
          <li key={`${one.queue} ${one.job_type}`} className="break-words">
            {plural(one.waiting, "job")} of {one.job_type} in the queue {one.queue}:{" "}
            {one.queue_is_served ? "no worker of that queue has the type's handler." : "no worker serves that queue."}
          </li>
        ))}
      </ul>
    </div>
  );
}
