import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import {
  Button,
  Card,
  type Column,
  Confirm,
  count,
  duration,
  EmptyState,
  Page,
  plural,
  Stat,
  StatusBadge,
  Table,
  Tag,
  Time,
} from "../../ui";
import { MaintenanceSwitch } from "./Maintenance";
import { Stranded } from "./Stranded";
import { stateOf, versions, type Worker } from "./states";

/** The workers of all organizations. */
export function Workers() {
  const [draining, setDraining] = useState<Worker | null>(null);
  const found = useQuery({
    queryKey: ["operator", "workers"],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/workers", { signal })),
    refetchInterval: 5_000,
  });
  const workers = found.data?.items;
  const alive = workers?.filter(({ lost }) => !lost);
  return (
    <Page
      title="Workers"
      description="Workers with a valid lease, and lost ones until a live worker has taken back their jobs."
      actions={<MaintenanceSwitch />}
    >
      {alive && <Stranded alive={alive.length} />}
      {alive && alive.length > 0 && <Totals workers={alive} />}
      <Card flush>
        <Table
          caption="Workers"
          columns={columnsOf(setDraining)}
          rows={workers}
          rowKey={({ id }) => id}
          source={found}
          empty={
            <EmptyState title="No worker is alive">
              Nothing runs until one is started, on the machine that is to run the jobs.
            </EmptyState>
          }
        />
      </Card>
      {draining && <Drain worker={draining} onClose={() => setDraining(null)} />}
    </Page>
  );
}

function Totals({ workers }: { workers: readonly Worker[] }) {
  const slots = workers.reduce((sum, one) => sum + one.slots, 0);
  const running = workers.reduce((sum, one) => sum + one.running, 0);
  const left = workers.reduce((sum, one) => sum + (one.left_behind ?? 0), 0);
  const [common, ...others] = versions(workers);
  return (
    <dl className="grid grid-cols-2 gap-3 lg:grid-cols-4">
      <Stat label="Workers" value={count(workers.length)} />
      <Stat label="Slots in use" value={`${count(running)} of ${count(slots)}`} />
      <Stat
        label="Left behind"
        value={count(left)}
        hint="Handlers that ignored their stop"
        {...(left > 0 && { tone: "warn" as const })}
      />
      <Stat
        label="Version"
        value={common ?? "–"}
        hint={others.length > 0 ? `and ${others.join(", ")}` : "on all of them"}
        {...(others.length > 0 && { tone: "warn" as const })}
      />
    </dl>
  );
}

function columnsOf(onDrain: (worker: Worker) => void): Column<Worker>[] {
  return [
    {
      head: "Worker",
      wide: true,
      cell: (worker) => (
        <div className="flex min-w-0 flex-col gap-0.5 whitespace-normal">
          <span className="flex flex-wrap items-center gap-2">
            <span className="font-medium break-all">{worker.name}</span>
            <State worker={worker} />
            {(worker.left_behind ?? 0) > 0 && (
              <Tag tone="warn">{`${plural(worker.left_behind ?? 0, "handler")} left behind`}</Tag>
            )}
          </span>
          <span className="text-xs text-muted">
            {worker.queues === null ? "all queues" : worker.queues.join(", ")} ·{" "}
            <span title={worker.job_types.join(", ")}>{plural(worker.job_types.length, "job type")}</span>
          </span>
        </div>
      ),
    },
    { head: "Slots", right: true, cell: (worker) => <Slots worker={worker} /> },
    {
      head: "Heartbeat",
      right: true,
      from: "sm",
      cell: ({ silent }) => (
        <span className="whitespace-nowrap">{silent < 1 ? "now" : `${duration(Math.floor(silent))} ago`}</span>
      ),
    },
    { head: "Version", from: "md", cell: ({ version }) => version ?? "–" },
    { head: "Started", from: "lg", cell: ({ started_at }) => <Time at={started_at} /> },
    {
      head: "Actions",
      right: true,
      cell: (worker) =>
        ["active", "silent"].includes(stateOf(worker)) && (
          <Button small onClick={() => onDrain(worker)} aria-label={`Drain ${worker.name}`}>
            Drain…
          </Button>
        ),
    },
  ];
}

function State({ worker }: { worker: Worker }) {
  switch (stateOf(worker)) {
    case "lost":
      return <StatusBadge status="failed" label={`lost, silent for ${duration(Math.floor(worker.silent))}`} />;
    case "stopping":
      return <StatusBadge status="stopping" />;
    case "draining":
      return <StatusBadge status="stopping" label="asked to drain" />;
    case "silent":
      return <StatusBadge status="failed" label={`silent for ${duration(Math.floor(worker.silent))}`} />;
    default:
      return <StatusBadge status="active" label="alive" />;
  }
}

function Slots({ worker: { running, slots } }: { worker: Worker }) {
  return (
    <span className="inline-flex items-center gap-2 whitespace-nowrap">
      <span aria-hidden className="hidden h-1.5 w-16 overflow-hidden rounded-full bg-sunken sm:block">
        <span
          className="block h-full rounded-full bg-accent-strong"
          style={{ width: `${Math.min(100, (100 * running) / slots)}%` }}
        />
      </span>
      {count(running)} / {count(slots)}
    </span>
  );
}

function Drain({ worker, onClose }: { worker: Worker; onClose: () => void }) {
  const drain = useAct({
    run: () => ask(api.POST("/api/v1/operator/workers/{worker}/drain", { params: { path: { worker: worker.id } } })),
    done: `${worker.name} was asked to drain; it hears of it with its next heartbeat.`,
    touches: [["operator", "workers"]],
    after: onClose,
  });
  return (
    <Confirm
      open
      title={`Drain ${worker.name}?`}
      action="Drain"
      onClose={onClose}
      busy={drain.isPending}
      error={drain.error}
      onConfirm={() => drain.mutate()}
    >
      <p>
        It claims no more, finishes what it runs ({plural(worker.running, "job")}) and ends. Its supervisor starts
        another worker in its place; without one it stays away.
      </p>
    </Confirm>
  );
}
