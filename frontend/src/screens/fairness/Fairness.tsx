import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { SpanSelect } from "../../shell/SpanSelect";
import { USUAL } from "../../span";
import {
  BANNER,
  Card,
  type Column,
  count,
  duration,
  EmptyState,
  Page,
  plural,
  Skeleton,
  Table,
  Trouble,
} from "../../ui";
import { sharesQuery } from "./queries";
import { ShareChart } from "./ShareChart";
import { areas, type Colours, colourOf, coloursOf, isHeldCapped, type Share, type Shares, sum } from "./shares";

/** Who uses the workers, and who waits behind whom. */
export function Fairness() {
  const { minutes = USUAL } = useSearch({ from: "/operator/fairness" });
  const found = useQuery({
    ...sharesQuery(minutes),
    refetchInterval: 10_000,
    placeholderData: (before) => before,
  });
  return (
    <Page
      title="Fairness"
      description="Which organizations use the workers, and who waits behind whom."
      actions={<SpanSelect minutes={minutes} />}
    >
      <Trouble source={found} />
      {found.data ? <View shares={found.data} /> : !found.error && <Skeleton rows={8} />}
    </Page>
  );
}

function View({ shares }: { shares: Shares }) {
  const [before, setBefore] = useState<Colours>(new Map());
  const colours = coloursOf(shares.shares, before);
  if (colours !== before) setBefore(colours);
  if (shares.shares.length === 0)
    return (
      <Card>
        <EmptyState title="Nothing happened in this time">
          As soon as workers run jobs, their time is shown here by organization.
        </EmptyState>
      </Card>
    );
  const rows = [...shares.shares, ...(shares.rest ? [shares.rest] : [])];
  const total = sum(rows.map(({ seconds }) => sum(seconds)));
  return (
    <>
      <Neighbour shares={shares} />
      <Card title="Shares">
        <ShareChart minutes={shares.minutes} areas={areas(shares, colours)} />
      </Card>
      <Card flush title={plural(shares.organizations, "organization")}>
        <Table
          caption="Organizations by what they used"
          columns={columnsOf(colours, total)}
          rows={rows}
          rowKey={({ organization }) => organization ?? "the rest"}
        />
      </Card>
    </>
  );
}

function Neighbour({ shares: { neighbour, waiting, shares, rest } }: { shares: Shares }) {
  if (!neighbour && waiting)
    return (
      <p role="status" className="rounded-lg border border-line bg-surface px-4 py-3 text-sm">
        No single organization has most of what runs. {plural(waiting.organizations, "organization")}{" "}
        {waiting.organizations === 1 ? "waits" : "wait"} for slots, for up to {duration(waiting.seconds)}.
      </p>
    );
  const all = [...shares, ...(rest ? [rest] : [])].map(({ now }) => now);
  const held = sum(all.map((now) => now.held));
  if (!neighbour && held > 0)
    return (
      <p className="rounded-lg border border-line bg-surface px-4 py-3 text-sm">
        No organization waits behind another, but {plural(held, "job", "jobs", all.some(isHeldCapped))}{" "}
        {held === 1 ? "is" : "are"} held back: the{" "}
        <Link to="/operator/overview" className="underline">
          overview
        </Link>{" "}
        says by what.
      </p>
    );
  if (!neighbour)
    return (
      <p className="rounded-lg border border-line bg-good-soft px-4 py-3 text-sm text-good">
        No organization waits behind another.
      </p>
    );
  const { organization, running, ready, ready_is_capped, others_waiting, others_seconds } = neighbour;
  return (
    <p role="status" className={BANNER}>
      <Link to="/o/$organization" params={{ organization }} className="font-semibold break-all underline">
        {organization}
      </Link>{" "}
      has most of the jobs that run: {count(running)} running, {count(ready, ready_is_capped)} in line.{" "}
      {plural(others_waiting, "other organization")} {others_waiting === 1 ? "waits" : "wait"} for slots, for up to{" "}
      {duration(others_seconds)}.
    </p>
  );
}

function columnsOf(colours: Colours, total: number): Column<Share>[] {
  return [
    {
      head: "Organization",
      wide: true,
      cell: (share) => (
        <span className="flex min-w-0 items-center gap-2">
          <span
            aria-hidden
            className="size-2.5 shrink-0 rounded-sm"
            style={{ background: colourOf(share.organization, colours) }}
          />
          {share.organization === null ? (
            <span className="text-muted">All others</span>
          ) : (
            <Link
              to="/o/$organization"
              params={{ organization: share.organization }}
              className="truncate font-medium hover:underline"
            >
              {share.organization}
            </Link>
          )}
        </span>
      ),
    },
    {
      head: "Share",
      right: true,
      cell: ({ seconds }) => (total > 0 ? `${((100 * sum(seconds)) / total).toFixed(1)} %` : "–"),
    },
    { head: "Attempts", right: true, from: "sm", cell: ({ ended }) => count(sum(ended)) },
    { head: "Time used", right: true, from: "md", cell: ({ seconds }) => <Length seconds={sum(seconds)} /> },
    { head: "Running", right: true, cell: ({ now }) => count(now.running) },
    { head: "In line", right: true, cell: ({ now }) => <InLine now={now} /> },
    {
      head: "Next waits",
      right: true,
      from: "sm",
      cell: ({ now }) => (now.waiting_seconds == null ? "–" : <Length seconds={now.waiting_seconds} />),
    },
  ];
}

/** What could start; and what would not, however many slots were free. */
function InLine({ now }: { now: Share["now"] }) {
  const { ready, ready_is_capped, held } = now;
  return (
    <>
      {count(ready - held, ready_is_capped)}
      {held > 0 && (
        <span
          className="block text-xs whitespace-nowrap text-muted"
          title="Paused, at a limit, held by a circuit breaker, or without a worker that serves them"
        >
          and {count(held, isHeldCapped(now))} held back
        </span>
      )}
    </>
  );
}

function Length({ seconds }: { seconds: number }) {
  return <span className="whitespace-nowrap">{duration(seconds)}</span>;
}
