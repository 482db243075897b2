import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Job } from "../../api/queries";
import { useMay } from "../../shell/access";
import { Card, Table } from "../../ui";
import { jobAuditColumns } from "../audit/AuditTable";
import { auditQuery } from "./queries";

/** What people did to the job, for those who may see the audit. */
export function JobAudit({ job }: { job: Job }) {
  const maySee = useMay("audit:read");
  const found = useQuery({ ...auditQuery(job.organization, job.id), enabled: maySee });
  if (!maySee) return null;
  return (
    <Card
      title="Audit"
      flush
      actions={
        found.data?.next_cursor && (
          <Link
            to="/o/$organization/audit"
            params={{ organization: job.organization }}
            search={{ subject: job.id }}
            className="text-xs text-accent hover:underline"
          >
            all of it
          </Link>
        )
      }
    >
      <Table
        caption="What people did to the job"
        columns={jobAuditColumns}
        rows={found.data?.items}
        rowKey={({ id }) => String(id)}
        source={found}
        empty={<p className="p-4 text-sm text-muted">Nobody has changed it since it was submitted.</p>}
      />
    </Card>
  );
}
