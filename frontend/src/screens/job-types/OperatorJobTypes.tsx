import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { allBreakersQuery, allJobTypesQuery } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { OrganizationId } from "../../shell/OrganizationId";
import { SpanSelect } from "../../shell/SpanSelect";
import { USUAL } from "../../span";
import { Button, Card, type Column, Confirm, Page, RowActions, Table, Time, Trouble } from "../../ui";
import { Slowest } from "../overview/Slowest";
import { PauseButton } from "../queues/Pausing";
import { type JobType, jobTypeColumns, NoTypes } from "./JobTypes";
import { Limits } from "./Limits";

/** The job types and circuit breakers of all organizations. */
export function OperatorJobTypes() {
  const [limited, setLimited] = useState<string | null>(null);
  const found = useQuery({ ...allJobTypesQuery, refetchInterval: useRefetch(6) });
  const { minutes = USUAL } = useSearch({ from: "/operator/job-types" });
  const metrics = useQuery({
    queryKey: ["operator", "metrics", minutes],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/operator/metrics", { params: { query: { minutes } }, signal })),
    refetchInterval: 30_000,
    placeholderData: (before) => before,
  });
  const columns: Column<JobType>[] = [
    ...jobTypeColumns(({ name }) => <span className="max-w-full font-medium break-words">{name}</span>, metrics.data),
    {
      head: "Actions",
      right: true,
      cell: (type) => (
        <RowActions>
          <Button small onClick={() => setLimited(type.name)} aria-label={`Limits of ${type.name}`}>
            Limits…
          </Button>
          {type.enabled ? <DisableButton name={type.name} /> : <EnableButton name={type.name} />}
          <PauseButton kind="job type" name={type.name} paused={type.paused} />
        </RowActions>
      ),
    },
  ];
  return (
    <Page
      title="Job types"
      description="Of all organizations. A pause holds for each of them."
      actions={<SpanSelect minutes={minutes} />}
    >
      <Breakers />
      <Card flush>
        <Table
          caption="Job types"
          columns={columns}
          rows={found.data?.items}
          rowKey={(type) => type.name}
          source={found}
          empty={<NoTypes />}
        />
      </Card>
      <Slowest jobs={metrics.data?.slowest} source={metrics} ofAll />
      {limited !== null && <Limits jobType={limited} onClose={() => setLimited(null)} />}
    </Page>
  );
}

const enable = (job_type: string, enabled: boolean) =>
  ask(api.PATCH("/api/v1/operator/job-types/{job_type}", { params: { path: { job_type } }, body: { enabled } }));

function EnableButton({ name }: { name: string }) {
  const act = useAct({
    run: () => enable(name, true),
    done: `${name} can be submitted again.`,
    touches: [["operator", "job-types"]],
    toastsError: true,
  });
  return (
    <Button small busy={act.isPending} onClick={() => act.mutate()} aria-label={`Enable ${name}`}>
      Enable
    </Button>
  );
}

function DisableButton({ name }: { name: string }) {
  const [asking, setAsking] = useState(false);
  return (
    <>
      <Button small onClick={() => setAsking(true)} aria-label={`Disable ${name}`}>
        Disable…
      </Button>
      {asking && <Disable name={name} onClose={() => setAsking(false)} />}
    </>
  );
}

function Disable({ name, onClose }: { name: string; onClose: () => void }) {
  const act = useAct({
    run: () => enable(name, false),
    done: `${name} is no longer taken; jobs that are there run.`,
    touches: [["operator", "job-types"]],
    after: onClose,
  });
  return (
    <Confirm
      open
      danger
      title={`Disable ${name}?`}
      action="Disable"
      onClose={onClose}
      busy={act.isPending}
      error={act.error}
      onConfirm={() => act.mutate()}
    >
      <p>Each submission of it is refused, of every organization, until it is enabled again. Existing jobs run.</p>
    </Confirm>
  );
}

type Breaker = Schema["Breaker"];

/** What rests since too much of it failed; nothing where all is well. */
function Breakers() {
  const every = useRefetch(2) || 15_000;
  const found = useQuery({ ...allBreakersQuery, refetchInterval: every });
  const close = useAct({
    run: ({ organization, job_type }: Breaker) =>
      ask(
        api.DELETE("/api/v1/operator/breakers/{organization}/{job_type}", {
          params: { path: { organization, job_type } },
        }),
      ),
    done: (_, { organization, job_type }) => `${job_type} of ${organization} starts again.`,
    touches: [["operator", "breakers"]],
    toastsError: true,
  });
  const breakers = found.data?.items ?? [];
  if (breakers.length === 0) return <Trouble source={found} />;
  return (
    <Card flush title="Open circuit breakers">
      <Table
        caption="Open circuit breakers"
        rows={breakers}
        rowKey={({ organization, job_type }) => `${organization} ${job_type}`}
        source={found}
        columns={[
          { head: "Job type", wide: true, cell: ({ job_type }) => job_type },
          { head: "Organization", cell: (breaker) => <OrganizationId organization={breaker.organization} /> },
          { head: "Open since", from: "sm", cell: ({ opened_at }) => <Time at={opened_at} /> },
          { head: "Next trial", cell: ({ until, trial }) => (trial ? "running now" : <Time at={until} />) },
          {
            head: "Actions",
            right: true,
            cell: (breaker) => (
              <Button
                small
                busy={close.isPending}
                onClick={() => close.mutate(breaker)}
                aria-label={`Close the breaker of ${breaker.job_type} in ${breaker.organization}`}
              >
                Close
              </Button>
            ),
          },
        ]}
      />
    </Card>
  );
}
