import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { within } from "../../api/queries";
import { Checkbox, Confirm, Input, Select } from "../../ui";
import type { Member } from "./Members";
import { namesOf } from "./names";

type Role = Schema["Role"];

const PAYLOAD = "payload:read";
const ROLES: readonly (readonly [Role, string])[] = [
  ["viewer", "Viewer: looks at jobs"],
  ["member", "Member: submits, and changes their own"],
  ["admin", "Admin: may do everything in the organization"],
];

/** Adds a member, or changes what one is. */
export function MemberForm({
  member,
  organization,
  warning,
  onClose,
}: {
  member: Member | null;
  organization: string;
  /** What to know before they are no admin any more. */
  warning: string | null;
  onClose: () => void;
}) {
  const [user, setUser] = useState(member?.user ?? "");
  const [role, setRole] = useState<Role>(member?.role ?? "member");
  const [seesPayload, setSeesPayload] = useState(member?.permissions.includes(PAYLOAD) ?? false);
  const [names, setNames] = useState(member?.permissions.filter((name) => name !== PAYLOAD).join(", ") ?? "");
  const put = useAct({
    run: () =>
      ask(
        api.PUT("/api/v1/organizations/{organization}/members/{user}", {
          params: { path: { organization, user: user.trim() } },
          body: { role, permissions: [...(seesPayload ? [PAYLOAD] : []), ...namesOf(names)] },
        }),
      ),
    done: member ? `${user} was changed.` : `${user} was added.`,
    touches: [within(organization, "members"), within(organization, "access")],
    after: onClose,
  });
  return (
    <Confirm
      open
      title={member ? `Change ${member.user}` : "Add a member"}
      action={member ? "Change" : "Add"}
      onClose={onClose}
      busy={put.isPending}
      error={put.error}
      disabled={user.trim() === ""}
      onConfirm={() => put.mutate()}
    >
      {!member && <Input label="User" hint="As they log in." required maxLength={200} value={user} onText={setUser} />}
      <Select label="Role" value={role} onChange={(event) => setRole(event.target.value as Role)}>
        {ROLES.map(([name, label]) => (
          <option key={name} value={name}>
            {label}
          </option>
        ))}
      </Select>
      {role !== "admin" && (
        <>
          {warning && <p className="font-medium text-bad">{warning}</p>}
          <Checkbox
            label="Sees parameters, errors and results of others' jobs"
            checked={seesPayload}
            onCheck={setSeesPayload}
          />
          <Input
            label="Permissions"
            hint="Names that job types require, separated by commas."
            value={names}
            onText={setNames}
          />
        </>
      )}
    </Confirm>
  );
}
