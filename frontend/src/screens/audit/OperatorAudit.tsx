import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { address, api, ask } from "../../api/client";
import { buttonClass, Page } from "../../ui";
import { AuditTable } from "./AuditTable";

/** What was done that concerns all organizations. */
export function OperatorAudit() {
  const search = useSearch({ from: "/operator/audit" });
  const navigate = useNavigate();
  const found = useQuery({
    queryKey: ["operator", "audit", search],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/operator/audit", { params: { query: { limit: 100, ...search } }, signal })),
  });
  return (
    <Page
      title="Audit"
      description="Changes to the whole installation. Changes within an organization are in its own audit."
      actions={
        <a className={buttonClass()} href={address("operator", "audit", "export")} download>
          Export
        </a>
      }
    >
      <AuditTable
        found={found}
        search={search}
        onSearch={(next, replace) => void navigate({ to: ".", search: next, replace })}
      />
    </Page>
  );
}
