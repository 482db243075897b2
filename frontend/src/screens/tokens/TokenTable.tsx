import type { UseQueryResult } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import type { Schema } from "../../api/client";
import type { Paging } from "../../shell/paging";
import { Button, Card, type Column, Confirm, EmptyState, Pager, StatusBadge, Table, Time, useNow } from "../../ui";
import { Names } from "../members/Members";
import { stateOf } from "./rights";

type Token = Schema["Token"];

interface Props {
  found: UseQueryResult<{ items: Token[]; next_cursor?: string | null }>;
  touches: readonly unknown[];
  page: Paging;
  revoke: (token: string) => Promise<unknown>;
}

/** Tokens, without their secrets: of these only a hash is kept. */
export function TokenTable({ found, touches, page, revoke }: Props) {
  const [revoked, setRevoked] = useState<Token | null>(null);
  const now = useNow();
  const columns: Column<Token>[] = [
    {
      head: "Token",
      wide: true,
      cell: (token) => (
        <div className="flex min-w-0 flex-col gap-0.5 whitespace-normal">
          <span className="flex flex-wrap items-center gap-2">
            <span className="font-medium break-words">{token.name}</span>
            <State token={token} now={now} />
          </span>
          <span className="text-xs text-muted">
            of {token.user}, created <Time at={token.created_at} />
          </span>
          <span className="text-xs md:hidden">
            <Rights scopes={token.scopes} />
          </span>
        </div>
      ),
    },
    {
      head: "Rights",
      from: "md",
      cell: ({ scopes }) => <Rights scopes={scopes} />,
    },
    {
      head: "Last used",
      from: "sm",
      cell: ({ last_used_at }) =>
        last_used_at ? <Time at={last_used_at} /> : <span className="text-muted">never</span>,
    },
    {
      head: "Expires",
      cell: ({ expires_at }) => (expires_at ? <Time at={expires_at} /> : <span className="text-muted">never</span>),
    },
    {
      head: "Actions",
      right: true,
      cell: (token) =>
        token.revoked_at === null && (
          <Button small onClick={() => setRevoked(token)} aria-label={`Revoke ${token.name}`}>
            Revoke…
          </Button>
        ),
    },
  ];
  return (
    <Card flush>
      <Table
        caption="API tokens"
        columns={columns}
        rows={found.data?.items}
        rowKey={({ id }) => id}
        source={found}
        empty={
          <EmptyState title="No tokens yet">
            A program that submits or watches jobs says who it is by a token.
          </EmptyState>
        }
      />
      <Pager
        first={page.cursor === undefined}
        next={found.data?.next_cursor}
        onFirst={() => page.onCursor(undefined)}
        onNext={page.onCursor}
      />
      {revoked && <Revoke token={revoked} touches={touches} revoke={revoke} onClose={() => setRevoked(null)} />}
    </Card>
  );
}

function Revoke({
  token,
  touches,
  revoke,
  onClose,
}: Pick<Props, "touches" | "revoke"> & { token: Token; onClose: () => void }) {
  const act = useAct({
    run: () => revoke(token.id),
    done: "It opens nothing any more.",
    touches: [touches],
    after: onClose,
  });
  return (
    <Confirm
      open
      danger
      title={`Revoke ${token.name}?`}
      action="Revoke"
      onClose={onClose}
      busy={act.isPending}
      error={act.error}
      onConfirm={() => act.mutate()}
    >
      <p>Programs that use it are refused from the next request on. This can't be undone.</p>
    </Confirm>
  );
}

function State({ token, now }: { token: Token; now: number }) {
  const state = stateOf(token, now);
  return state === "active" ? null : <StatusBadge status="suspended" label={state} />;
}

function Rights({ scopes }: Pick<Token, "scopes">) {
  if (scopes === null) return <span className="whitespace-nowrap text-muted">all rights of its user</span>;
  return <Names names={scopes} />;
}
