import { lazy, Suspense } from "react";
import type { Schema } from "../../api/client";
import { Card, count, ErrorState, Skeleton } from "../../ui";
import { summaryOf } from "./summary";

const Chart = lazy(() => import("../../ui/Chart"));

/** Attempts that ended, minute by minute. */
export function Throughput({ timeline, error }: { timeline: Schema["Timeline"] | undefined; error: unknown }) {
  if (error && !timeline) return <ErrorState error={error} />;
  if (!timeline) return <Skeleton rows={4} />;
  const { steps } = timeline;
  const { completed, failed } = summaryOf(steps);
  return (
    <Card title="Throughput" actions={<span className="text-xs text-muted">per minute</span>}>
      <Suspense fallback={<Skeleton rows={4} />}>
        <Chart
          label={`Attempts that ended within the last hour: ${count(completed)} completed, ${count(failed)} failed.`}
          times={steps.map((step) => Date.parse(step.at) / 1000)}
          series={[
            { label: "Completed", tone: "good", values: steps.map((step) => step.completed) },
            { label: "Failed", tone: "bad", values: steps.map((step) => step.failed) },
            // Of all organizations together it is not told.
            ...(steps.some((step) => step.submitted !== null)
              ? [{ label: "Submitted", tone: "muted" as const, values: steps.map((step) => step.submitted) }]
              : []),
          ]}
        />
      </Suspense>
    </Card>
  );
}
