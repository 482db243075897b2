import { queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useCallback, useState } from "react";
import { api, ask, type Schema } from "../../api/client";
import { within } from "../../api/queries";
import { correct, soon } from "../../live/effects";
import type { Event } from "../../live/events";
import { useHearing, useRefetch } from "../../live/hooks";
import { useOrganization } from "../../shell/access";
import { Button, Card, ErrorState, Page, plural, Skeleton, StatusBadge, short } from "../../ui";
import { Drawing } from "./Drawing";

type Graph = Schema["Graph"];

function graphQuery(organization: string, job: string) {
  return queryOptions({
    queryKey: within(organization, "graph", job),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/jobs/{job}/graph", {
          params: { path: { organization, job } },
          signal,
        }),
      ),
  });
}

const ZOOMS = [0.5, 0.75, 1, 1.5] as const;
const USUAL = 2;
const SETTLED = 1_500; // milliseconds: more may happen to the graph until then

/** The jobs around a job: what it waits for, and what waits for it. */
export function GraphPage() {
  const organization = useOrganization();
  const { job } = useParams({ from: "/o/$organization/jobs/$job/graph" });
  const queries = useQueryClient();
  const [zoom, setZoom] = useState<number>(USUAL);
  const query = graphQuery(organization, job);
  const found = useQuery({ ...query, refetchInterval: useRefetch() });
  const onEvent = useCallback(
    (event: Event) => {
      if (event.name !== "job_status_changed") return;
      const { queryKey } = graphQuery(organization, job);
      const found = queries.getQueryCache().find<Graph>({ queryKey });
      const graph = found?.state.data;
      if (!found || !graph?.nodes.some(({ id }) => id === event.job_id)) return;
      const status = event.to_status as Graph["nodes"][number]["status"];
      correct(found, {
        ...graph,
        nodes: graph.nodes.map((node) =>
          node.id === event.job_id && event.attempt >= node.attempt
            ? { ...node, status, attempt: event.attempt }
            : node,
        ),
      });
      soon(queries, queryKey, SETTLED);
    },
    [queries, organization, job],
  );
  useHearing(organization, onEvent);
  const graph = found.data;
  const middle = graph?.nodes.find(({ id }) => id === job);
  const failed = graph?.nodes.find(({ id }) => id === graph.first_failed);
  return (
    <Page
      title="Dependencies"
      mark={middle && <StatusBadge status={middle.status} />}
      description={
        <Link to="/o/$organization/jobs/$job" params={{ organization, job }} className="text-accent hover:underline">
          ← {middle ? `${middle.job_type} ` : "Job "}
          {short(job)}
        </Link>
      }
      actions={
        <>
          <Button disabled={zoom === 0} onClick={() => setZoom(zoom - 1)} aria-label="Smaller">
            −
          </Button>
          <Button disabled={zoom === ZOOMS.length - 1} onClick={() => setZoom(zoom + 1)} aria-label="Larger">
            +
          </Button>
        </>
      }
    >
      {failed && (
        <p role="status" className="rounded-md bg-bad-soft px-4 py-2.5 text-sm text-bad">
          It began to go wrong with{" "}
          <Link
            to="/o/$organization/jobs/$job"
            params={{ organization, job: failed.id }}
            className="font-medium underline"
          >
            {failed.job_type} {short(failed.id)}
          </Link>
          .
        </p>
      )}
      <Card
        flush
        title={graph ? plural(graph.nodes.length, "job") : "Jobs"}
        actions={graph?.is_capped && <span className="text-xs text-muted">There are more; the nearest are shown.</span>}
      >
        {found.error ? (
          <ErrorState error={found.error} onRetry={() => void found.refetch()} />
        ) : graph ? (
          <Drawing graph={graph} organization={organization} zoom={ZOOMS[zoom] ?? 1} />
        ) : (
          <Skeleton rows={6} />
        )}
      </Card>
    </Page>
  );
}
