import type { Schema } from "../../api/client";
import { Card, count, Facts, Progress } from "../../ui";

/** How much of what the organization may have it has. */
export function Quota({
  organization,
  byStatus,
}: {
  organization: Schema["Organization"];
  byStatus: Record<string, number>;
}) {
  const running = byStatus.running ?? 0;
  const live = running + (byStatus.queued ?? 0) + (byStatus.pending ?? 0);
  return (
    <Card title="Quota">
      <Facts
        items={[
          ["Live jobs", <Share key="live" value={live} limit={organization.max_live_jobs} label="Live jobs" />],
          ["Running", <Share key="running" value={running} limit={organization.max_running} label="Running jobs" />],
          ["Share", `weight ${count(organization.weight)}`],
        ]}
      />
    </Card>
  );
}

function Share({ value, limit, label }: { value: number; limit: number | null; label: string }) {
  if (limit === null) return <>{count(value)}, no limit</>;
  return (
    <div>
      {count(value)} of {count(limit)}
      {value >= limit && <span className="text-warn">, no more for now</span>}
      <Progress percent={limit > 0 ? (100 * value) / limit : 100} label={label} isLimit />
    </div>
  );
}
