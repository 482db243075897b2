import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { written } from "../../api/json";
import { useMay, useOrganization } from "../../shell/access";
import { usePaging } from "../../shell/paging";
import {
  Button,
  Card,
  Code,
  type Column,
  cx,
  EmptyState,
  Mono,
  Page,
  Pager,
  StatusBadge,
  Table,
  Tag,
  Time,
} from "../../ui";
import { inWords } from "./cron";
import { Deeds } from "./Deeds";
import type { Schedule } from "./draft";
import { NextTick, NextTicks } from "./NextTicks";
import { schedulesQuery } from "./queries";
import { MISSED, ScheduleForm } from "./ScheduleForm";
import { everyInWords } from "./ticks";

/** What an organization has submitted again and again, by the clock. */
export function Schedules() {
  const organization = useOrganization();
  const mayChange = useMay("schedules:change");
  const mayCreate = useMay("jobs:submit") && mayChange;
  const { cursor, onCursor } = usePaging();
  const [creating, setCreating] = useState(false);
  // No event tells of a tick.
  const found = useQuery({ ...schedulesQuery(organization, cursor), refetchInterval: 10_000 });
  const columns = columnsOf(organization);
  if (mayChange) columns.push({ head: "Actions", right: true, cell: (schedule) => <Deeds schedule={schedule} /> });
  return (
    <Page
      title="Schedules"
      description="Each submits a job at its ticks; its name leads to those jobs."
      actions={
        mayCreate && (
          <Button look="primary" onClick={() => setCreating(true)}>
            New schedule…
          </Button>
        )
      }
    >
      <Card flush>
        <Table
          caption="Schedules"
          columns={columns}
          rows={found.data?.items}
          rowKey={({ name }) => name}
          source={found}
          empty={
            <EmptyState title="No schedules yet">
              A schedule submits jobs of a type by the clock, such as a report each morning at half past six.
              {!mayCreate && " Admins of the organization make them."}
            </EmptyState>
          }
        />
        <Pager
          first={cursor === undefined}
          next={found.data?.next_cursor}
          onFirst={() => onCursor(undefined)}
          onNext={onCursor}
        />
      </Card>
      {creating && <ScheduleForm schedule={null} onClose={() => setCreating(false)} />}
    </Page>
  );
}

/** On narrower screens the first column has what there is no room for beside it. */
function columnsOf(organization: string): Column<Schedule>[] {
  return [
    {
      head: "Schedule",
      wide: true,
      cell: (schedule) => (
        <div className="flex min-w-0 flex-col gap-1 whitespace-normal">
          <What schedule={schedule} organization={organization} />
          <div className="lg:hidden">
            <When schedule={schedule} />
          </div>
          <div className="text-xs sm:hidden">
            Last tick: <LastTick schedule={schedule} organization={organization} />
          </div>
          <div className="text-xs lg:hidden">
            <NextTick schedule={schedule} />
          </div>
        </div>
      ),
    },
    { head: "When", from: "lg", cell: (schedule) => <When schedule={schedule} /> },
    { head: "Next ticks", from: "lg", cell: (schedule) => <NextTicks schedule={schedule} /> },
    {
      head: "Last tick",
      from: "sm",
      cell: (schedule) => <LastTick schedule={schedule} organization={organization} />,
    },
  ];
}

interface Props {
  schedule: Schedule;
  organization: string;
}

function What({ schedule, organization }: Props) {
  const { name, job_type, user, queue, priority, labels, paused_at, paused_by, problem } = schedule;
  return (
    <>
      <span className="flex flex-wrap items-center gap-2">
        <Link
          to="/o/$organization/jobs"
          params={{ organization }}
          search={{ label: [`schedule=${name}`] }}
          title="Its jobs"
          className="font-medium break-words hover:underline"
        >
          {name}
        </Link>
        {paused_at && (
          <>
            <StatusBadge status="paused" />
            <span className="text-xs text-muted">
              <Time at={paused_at} /> by {paused_by}
            </span>
          </>
        )}
      </span>
      {problem && (
        <p className="rounded-md bg-bad-soft px-2 py-1 text-xs break-words text-bad">
          Its ticks are refused; a tick that is due is tried again within a minute. {problem}
        </p>
      )}
      <span className="text-xs break-words text-muted">
        {job_type} as {user ?? <em>system</em>}
        {queue !== null && `, in queue ${queue}`}
        {priority !== null && `, priority ${priority}`}
      </span>
      {Object.keys(labels).length > 0 && (
        <span className="flex flex-wrap gap-1">
          {Object.entries(labels).map(([label, value]) => (
            <Tag key={label}>{`${label}=${value}`}</Tag>
          ))}
        </span>
      )}
      <Parameters schedule={schedule} />
    </>
  );
}

function Parameters({ schedule: { name, parameters, payload_hidden } }: { schedule: Schedule }) {
  if (payload_hidden) return <span className="text-xs text-muted">Its parameters are hidden from you.</span>;
  if (!parameters || Object.keys(parameters).length === 0) return null;
  return (
    <details className="text-xs">
      <summary className="cursor-pointer text-muted hover:text-ink">Parameters</summary>
      <Code text={written(parameters, true)} label={`Parameters of ${name}`} className="mt-1" />
    </details>
  );
}

function When({ schedule: { cron, every, time_zone, missed } }: { schedule: Schedule }) {
  const words = cron === null ? everyInWords(every ?? 0) : inWords(cron);
  return (
    <div className="flex max-w-56 flex-col lg:min-w-44 gap-0.5">
      {words && <span>{words}</span>}
      {cron !== null && (
        <span className={cx(words && "text-xs text-muted")}>
          <Mono>{cron}</Mono> in {time_zone}
        </span>
      )}
      <span className="text-xs text-muted">Missed ticks: {MISSED[missed]}</span>
    </div>
  );
}

function LastTick({ schedule: { last_tick, last_job }, organization }: Props) {
  if (last_tick === null) return <span className="whitespace-nowrap text-muted">none yet</span>;
  if (last_job === null) return <Time at={last_tick} />;
  return (
    <Link
      to="/o/$organization/jobs/$job"
      params={{ organization, job: last_job }}
      title="Its job"
      className="text-accent hover:underline"
    >
      <Time at={last_tick} />
    </Link>
  );
}
