import { queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { meQuery, mineQuery, within } from "../../api/queries";
import { useMay, useOrganization } from "../../shell/access";
import { usePaging } from "../../shell/paging";
import { Button, Card, type Column, Confirm, EmptyState, Page, Pager, RowActions, Table, Tag, Time } from "../../ui";
import { MemberForm } from "./MemberForm";
import { warningOf } from "./warning";

export type Member = Schema["Member"];

/** Who belongs to an organization, as what. */
export function Members() {
  const organization = useOrganization();
  const mayChange = useMay("members:change");
  const { data: me } = useQuery(meQuery);
  const { cursor, onCursor } = usePaging();
  const [edited, setEdited] = useState<Member | "new" | null>(null);
  const [removed, setRemoved] = useState<Member | null>(null);
  const found = useQuery(membersQuery(organization, cursor));
  const isAll = cursor === undefined && found.data?.next_cursor == null;
  const told = (member: Member) => {
    const isMe = member.user === me?.user;
    return { isMe, warning: warningOf(member, found.data?.items ?? [], { isMe, isAll }) };
  };
  const columns: Column<Member>[] = [
    {
      head: "Member",
      wide: true,
      cell: ({ user }) => (
        <span className="inline-flex max-w-full items-center gap-2">
          <span className="truncate font-medium">{user}</span>
          {user === me?.user && <Tag>you</Tag>}
        </span>
      ),
    },
    { head: "Role", cell: ({ role }) => role },
    {
      head: "Permissions",
      from: "sm",
      cell: ({ permissions, role }) =>
        role === "admin" ? <span className="text-muted">all</span> : <Names names={permissions} />,
    },
    { head: "Since", from: "md", cell: ({ created_at }) => <Time at={created_at} /> },
  ];
  if (mayChange)
    columns.push({
      head: "Actions",
      right: true,
      cell: (member) => (
        <RowActions>
          <Button small onClick={() => setEdited(member)} aria-label={`Change ${member.user}`}>
            Change…
          </Button>
          <Button small onClick={() => setRemoved(member)} aria-label={`Remove ${member.user}`}>
            Remove…
          </Button>
        </RowActions>
      ),
    });
  return (
    <Page
      title="Members"
      description="Who may look at this organization's jobs, submit them and change them."
      actions={
        mayChange && (
          <Button look="primary" onClick={() => setEdited("new")}>
            Add a member…
          </Button>
        )
      }
    >
      <Card flush>
        <Table
          caption="Members"
          columns={columns}
          rows={found.data?.items}
          rowKey={({ user }) => user}
          source={found}
          empty={
            <EmptyState title="No members yet">
              Operators look after this organization until somebody belongs to it.
            </EmptyState>
          }
        />
        <Pager
          first={cursor === undefined}
          next={found.data?.next_cursor}
          onFirst={() => onCursor(undefined)}
          onNext={onCursor}
        />
      </Card>
      {edited && (
        <MemberForm
          member={edited === "new" ? null : edited}
          organization={organization}
          warning={edited === "new" ? null : told(edited).warning}
          onClose={() => setEdited(null)}
        />
      )}
      {removed && <Remove member={removed} {...told(removed)} onClose={() => setRemoved(null)} />}
    </Page>
  );
}

function membersQuery(organization: string, cursor?: string) {
  return queryOptions({
    queryKey: within(organization, "members", cursor),
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/organizations/{organization}/members", {
          params: { path: { organization }, query: { limit: 50, ...(cursor && { cursor }) } },
          signal,
        }),
      ),
  });
}

export function Names({ names }: { names: readonly string[] }) {
  if (names.length === 0) return <span className="text-muted">–</span>;
  return (
    <span className="inline-flex flex-wrap gap-1">
      {names.map((name) => (
        <Tag key={name}>{name}</Tag>
      ))}
    </span>
  );
}

interface RemoveProps {
  member: Member;
  isMe: boolean;
  warning: string | null;
  onClose: () => void;
}

function Remove({ member: { organization, user }, isMe, warning, onClose }: RemoveProps) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const { data: me } = useQuery(meQuery);
  const leave = () => {
    // Whoever starts anew is asked where they belong now.
    queries.removeQueries({ queryKey: mineQuery.queryKey });
    return navigate({ to: "/" });
  };
  const remove = useAct({
    run: () =>
      ask(
        api.DELETE("/api/v1/organizations/{organization}/members/{user}", { params: { path: { organization, user } } }),
      ),
    done: `${user} is no member any more.`,
    touches: [within(organization, "members")],
    after: isMe && !me?.is_operator ? leave : onClose,
  });
  return (
    <Confirm
      open
      danger
      title={`Remove ${user}?`}
      action="Remove"
      onClose={onClose}
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
    >
      {(isMe || warning) && (
        <p className="font-medium text-bad">
          {isMe && "This is you. "}
          {warning}
        </p>
      )}
      <p>
        {isMe ? "You are out at once, with all of your" : "They are out at once, with all of their"} sessions and
        tokens. Jobs of {isMe ? "yours" : "theirs"} that wait will be refused when they are due; running ones finish.
      </p>
    </Confirm>
  );
}
