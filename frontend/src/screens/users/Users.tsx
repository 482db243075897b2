import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { meQuery } from "../../api/queries";
import { usePaging } from "../../shell/paging";
import {
  Button,
  Card,
  type Column,
  Confirm,
  EmptyState,
  Page,
  Pager,
  RowActions,
  StatusBadge,
  Table,
  Tag,
  Time,
} from "../../ui";
import { UserForm } from "./UserForm";

export type User = Schema["User"];

/** People with a login of their own, and operators. */
export function Users() {
  const { cursor, onCursor } = usePaging();
  const [edited, setEdited] = useState<User | "new" | null>(null);
  const [removed, setRemoved] = useState<User | null>(null);
  const { data: me } = useQuery(meQuery);
  const found = useQuery({
    queryKey: ["operator", "users", cursor],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/operator/users", { params: { query: { limit: 50, ...(cursor && { cursor }) } }, signal })),
  });
  const columns: Column<User>[] = [
    {
      head: "User",
      wide: true,
      cell: (user) => (
        <span className="inline-flex max-w-full flex-wrap items-center gap-2 whitespace-normal">
          <span className="font-medium break-all">{user.id}</span>
          {user.id === me?.user && <Tag>you</Tag>}
          {user.is_operator && <Tag tone="accent">operator</Tag>}
          {user.rights.includes("payload:read") && <Tag tone="warn">sees payloads</Tag>}
          {user.disabled_at && <StatusBadge status="suspended" label="disabled" />}
        </span>
      ),
    },
    {
      head: "Logs in by",
      from: "sm",
      cell: ({ has_password }) => (has_password ? "password" : <span className="text-muted">token or link</span>),
    },
    { head: "Created", from: "md", cell: ({ created_at }) => <Time at={created_at} /> },
    {
      head: "Actions",
      right: true,
      cell: (user) => (
        <RowActions>
          <Button small onClick={() => setEdited(user)} aria-label={`Change ${user.id}`}>
            Change…
          </Button>
          {user.id !== me?.user && (
            <Button small onClick={() => setRemoved(user)} aria-label={`Delete ${user.id}`}>
              Delete…
            </Button>
          )}
        </RowActions>
      ),
    },
  ];
  return (
    <Page
      title="Users"
      description="People with a login of their own, and operators. Members of organizations need none: tokens and identity providers say who they are, too."
      actions={
        <Button look="primary" onClick={() => setEdited("new")}>
          New user…
        </Button>
      }
    >
      <Card flush>
        <Table
          caption="Users"
          columns={columns}
          rows={found.data?.items}
          rowKey={({ id }) => id}
          source={found}
          empty={<EmptyState title="No users yet" />}
        />
        <Pager
          first={cursor === undefined}
          next={found.data?.next_cursor}
          onFirst={() => onCursor(undefined)}
          onNext={onCursor}
        />
      </Card>
      {edited && <UserForm user={edited === "new" ? null : edited} onClose={() => setEdited(null)} />}
      {removed && <Remove user={removed.id} onClose={() => setRemoved(null)} />}
    </Page>
  );
}

function Remove({ user, onClose }: { user: string; onClose: () => void }) {
  const remove = useAct({
    run: () => ask(api.DELETE("/api/v1/operator/users/{user}", { params: { path: { user } } })),
    done: `${user} was deleted.`,
    touches: [["operator", "users"]],
    after: onClose,
  });
  return (
    <Confirm
      open
      danger
      title={`Delete ${user}?`}
      action="Delete"
      onClose={onClose}
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
    >
      <p>
        Their login and sessions end at once, and their tokens are revoked. Memberships under the same id stay: remove
        these in their organizations.
      </p>
    </Confirm>
  );
}
