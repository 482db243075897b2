import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { address, api, ask } from "../../api/client";
import { within } from "../../api/queries";
import { useOrganization } from "../../shell/access";
import { buttonClass, Page } from "../../ui";
import { AuditTable } from "./AuditTable";

/** Who did what in an organization. */
export function Audit() {
  const organization = useOrganization();
  const { cursor } = useSearch({ from: "/o/$organization/audit" });
  const navigate = useNavigate();
  const found = useQuery({
    queryKey: within(organization, "audit", cursor),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/audit", {
          params: { path: { organization }, query: { limit: 100, ...(cursor && { cursor }) } },
          signal,
        }),
      ),
  });
  return (
    <Page
      title="Audit"
      description="Who did what, written in the same transaction. Nobody can change it."
      actions={
        <a className={buttonClass()} href={address("organizations", organization, "audit", "export")} download>
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
