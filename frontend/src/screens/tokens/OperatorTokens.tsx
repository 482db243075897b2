import { useQuery } from "@tanstack/react-query";
import { api, ask } from "../../api/client";
import { usePaging } from "../../shell/paging";
import { Page } from "../../ui";
import { NewTokenButton } from "./NewToken";
import { OPERATOR_RIGHTS } from "./rights";
import { TokenTable } from "./TokenTable";

const KEY = ["operator", "tokens"] as const;

/** Operators' API tokens, which open all organizations. */
export function OperatorTokens() {
  const page = usePaging();
  const { cursor } = page;
  const found = useQuery({
    queryKey: [...KEY, cursor],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/operator/tokens", { params: { query: { limit: 50, ...(cursor && { cursor }) } }, signal })),
  });
  return (
    <Page
      title="Operators' tokens"
      description="They open all organizations. Cut them to the rights that they need, and let them expire."
      actions={
        <NewTokenButton
          rights={OPERATOR_RIGHTS}
          touches={KEY}
          create={(body) => ask(api.POST("/api/v1/operator/tokens", { body }))}
        />
      }
    >
      <TokenTable
        found={found}
        touches={KEY}
        page={page}
        revoke={(token) => ask(api.DELETE("/api/v1/operator/tokens/{token}", { params: { path: { token } } }))}
      />
    </Page>
  );
}
