import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { address, api, ask } from "../../api/client";
import { buttonClass, Page } from "../../ui";
import { AuditTable } from "./AuditTable";

/** What was done that concerns all organizations. */
export function OperatorAudit() {
  const { cursor } = useSearch({ from: "/operator/audit" });
  const navigate = useNavigate();
  const found = useQuery({
    queryKey: ["operator", "audit", cursor],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/operator/audit", { params: { query: { limit: 100, ...(cursor && { cursor }) } }, signal })),
  });
  return (
    <Page
      title="Audit"
      description="What concerns all organizations. What was done in one of them stands in its own audit."
      actions={
        <a className={buttonClass()} href={address("operator", "audit", "export")} download>
          Export
        </a>
      }
    >
      <AuditTable
        found={found}
        cursor={cursor}
        onCursor={(next) => void navigate({ to: ".", search: next ? { cursor: next } : {} })}
      />
    </Page>
  );
}
