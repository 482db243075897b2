import { useQuery } from "@tanstack/react-query";
import { api, ask } from "../../api/client";
import { accessQuery, within } from "../../api/queries";
import { useMay, useOrganization } from "../../shell/access";
import { usePaging } from "../../shell/paging";
import { Page } from "../../ui";
import { NewTokenButton } from "./NewToken";
import { TokenTable } from "./TokenTable";

/** API tokens of an organization: one's own, and for admins all. */
export function Tokens() {
  const organization = useOrganization();
  const mayChange = useMay("tokens:change");
  const access = useQuery(accessQuery(organization));
  const page = usePaging();
  const { cursor } = page;
  const key = within(organization, "tokens");
  const found = useQuery({
    queryKey: [...key, cursor],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/tokens", {
          params: { path: { organization }, query: { limit: 50, ...(cursor && { cursor }) } },
          signal,
        }),
      ),
  });
  const mayCreate = mayChange && access.data?.is_operator === false;
  return (
    <Page
      title="API tokens"
      description={
        access.data?.is_full
          ? "Of all members. A token opens what its user may, and nothing of other organizations."
          : "Yours. A token opens what you may here, and nothing of other organizations."
      }
      actions={
        mayCreate && (
          <NewTokenButton
            rights={access.data?.rights ?? []}
            touches={key}
            create={(body) =>
              ask(api.POST("/api/v1/organizations/{organization}/tokens", { params: { path: { organization } }, body }))
            }
          />
        )
      }
    >
      <TokenTable
        found={found}
        touches={key}
        page={page}
        revoke={(token) =>
          ask(
            api.DELETE("/api/v1/organizations/{organization}/tokens/{token}", {
              params: { path: { organization, token } },
            }),
          )
        }
      />
    </Page>
  );
}
