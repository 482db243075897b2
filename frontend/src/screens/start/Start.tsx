import { useQuery } from "@tanstack/react-query";
import { Link, Navigate, useNavigate, useRouteContext } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import type { Schema } from "../../api/client";
import { mineQuery } from "../../api/queries";
import { recall } from "../../settings";
import { Account } from "../../shell/Account";
import { Button, Card, type Column, EmptyState, ErrorState, Input, Page, Skeleton, StatusBadge, Table } from "../../ui";

type Mine = Schema["MyOrganization"];

/** Where one lands: in the organization one was in last, in the only one, or before the choice. */
export function Start() {
  const { me } = useRouteContext({ from: "/" });
  const mine = useQuery(mineQuery);
  if (mine.error) return <ErrorState error={mine.error} onRetry={() => void mine.refetch()} />;
  if (!mine.data) return <Skeleton />;
  const ids = mine.data.items.map((one) => one.id);
  const last = recall<string>("organization", "");
  const only = ids.length === 1 ? ids[0] : ids.find((id) => id === last);
  if (only !== undefined) return <Navigate to="/o/$organization" params={{ organization: only }} replace />;
  if (me.is_operator) return <Navigate to="/operator" replace />;
  const columns: Column<Mine>[] = [
    {
      head: "Organization",
      wide: true,
      cell: ({ id, name }) => (
        <Link to="/o/$organization" params={{ organization: id }} className="font-medium hover:underline">
          {name}
        </Link>
      ),
    },
    { head: "Your role", cell: ({ role }) => role },
    { head: "Status", cell: ({ status }) => <StatusBadge status={status} /> },
  ];
  return (
    <Page title="Your organizations" actions={<Account />}>
      <Card flush>
        <Table
          caption="Your organizations"
          columns={columns}
          rows={mine.data.items}
          rowKey={({ id }) => id}
          empty={mine.data.is_complete ? <None user={me.user} /> : <ByName />}
        />
      </Card>
    </Page>
  );
}

function None({ user }: { user: string }) {
  return <EmptyState title="You belong to no organization yet">Ask an admin of yours to add you: {user}.</EmptyState>;
}

/** Where the application keeps its organizations itself, nobody here knows which are whose. */
function ByName() {
  const [organization, setOrganization] = useState("");
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void navigate({ to: "/o/$organization", params: { organization } });
  };
  return (
    <form onSubmit={submit} className="flex flex-wrap items-end gap-2 p-4">
      <Input
        label="Organization"
        hint="Its id, as your application calls it."
        required
        value={organization}
        onText={setOrganization}
      />
      <Button type="submit" look="primary">
        Open
      </Button>
    </form>
  );
}
