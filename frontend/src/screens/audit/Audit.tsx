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
  const search = useSearch({ from: "/o/$organization/audit" });
  const navigate = useNavigate();
  const found = useQuery({
    queryKey: within(organization, "audit", search),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/audit", {
          params: { path: { organization }, query: { limit: 100, ...search } },
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
        search={search}
        onSearch={(next, replace) => void navigate({ to: ".", search: next, replace })}
      />
    </Page>
  );
}
