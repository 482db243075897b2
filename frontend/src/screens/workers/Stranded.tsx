import { useQuery } from "@tanstack/react-query";
import { api, ask } from "../../api/client";
import { BANNER, cx, Trouble } from "../../ui";
import { told } from "./missing";

/** Jobs that none of the live workers could claim; nothing where there are none, as far as one knows. */
export function Stranded({ alive }: { alive: number }) {
  const found = useQuery({
    queryKey: ["operator", "stranded"],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/stranded-jobs", { signal })),
    refetchInterval: 10_000,
  });
  const items = found.data?.items ?? [];
  if (items.length === 0) return <Trouble source={found} />;
  return (
    <div role="status" className={cx("flex flex-col gap-1", BANNER)}>
      <p className="font-semibold">Jobs wait without a worker for them</p>
      <ul className="flex flex-col gap-0.5">
        {told(items, alive).map((sentence) => (
          <li key={sentence} className="break-words">
            {sentence}
          </li>
        ))}
      </ul>
    </div>
  );
}
