import { keepPreviousData, useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { api, ask } from "../../api/client";
import { type JobFilter, within } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { count, cx, StatusBadge, Trouble } from "../../ui";
import { type JobsSearch, STATUSES } from "./filter";

interface Props {
  organization: string;
  search: JobsSearch;
  filter: JobFilter;
  onChoose: (search: JobsSearch) => void;
}

/** How many jobs of each status fit the rest of the filter; each is a button that shows only these. */
export function Counts({ organization, search, filter, onChoose }: Props) {
  const { status: _, ...rest } = filter;
  const found = useQuery({
    queryKey: within(organization, "job-counts", rest),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/job-counts", {
          params: { path: { organization }, query: rest },
          signal,
        }),
      ),
    refetchInterval: useRefetch(2),
    placeholderData: keepPreviousData,
  });
  const { data, error } = found;
  const chosen = search.status ?? [];
  const choose = (status: (typeof STATUSES)[number]) => {
    const { cursor: _cursor, status: _status, waiting_for: _waitingFor, ...same } = search;
    const next = chosen.includes(status) ? chosen.filter((one) => one !== status) : [...chosen, status];
    onChoose(next.length > 0 ? { ...same, status: next } : same);
  };
  const chooseRetry = () => {
    const { cursor: _cursor, status: _status, waiting_for, ...same } = search;
    onChoose(waiting_for === undefined ? { ...same, waiting_for: "retry" } : same);
  };
  return (
    <div className="flex flex-col gap-2">
      <Trouble source={found} />
      <fieldset className="flex flex-wrap gap-2">
        <legend className="sr-only">Filter by status</legend>
        {STATUSES.map((status) => (
          <Chip key={status} isChosen={chosen.includes(status)} onChoose={() => choose(status)}>
            <StatusBadge status={status} />
            <span className="min-w-4 text-right font-medium">
              {data ? count(data.by_status[status] ?? 0, data.capped.includes(status)) : error ? "–" : "…"}
            </span>
          </Chip>
        ))}
        <Chip isChosen={search.waiting_for !== undefined} onChoose={chooseRetry}>
          <StatusBadge status="retry" label="waiting for a retry" />
        </Chip>
      </fieldset>
    </div>
  );
}

function Chip({ isChosen, onChoose, children }: { isChosen: boolean; onChoose: () => void; children: ReactNode }) {
  return (
    <button
      type="button"
      aria-pressed={isChosen}
      onClick={onChoose}
      className={cx(
        "flex items-center gap-2 rounded-md border bg-surface px-2 py-1 text-sm hover:bg-hover",
        isChosen ? "border-accent" : "border-line",
      )}
    >
      {children}
    </button>
  );
}
