import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { Checkbox, Confirm, Input } from "../../ui";
import type { User } from "./Users";

const SHORTEST = 12; // characters of a password

/** Creates a user, or changes one. */
export function UserForm({ user, onClose }: { user: User | null; onClose: () => void }) {
  const [id, setId] = useState(user?.id ?? "");
  const [password, setPassword] = useState("");
  const [operator, setOperator] = useState(user?.is_operator ?? false);
  const [seesPayload, setSeesPayload] = useState(user?.rights.includes("payload:read") ?? false);
  const [disabled, setDisabled] = useState(user?.disabled_at != null);
  const isShort = password !== "" && password.length < SHORTEST;
  const save = useAct({
    run: () => {
      const others = user?.rights.filter((right) => right !== "payload:read") ?? [];
      const body = {
        operator,
        rights: operator && seesPayload ? [...others, "payload:read" as const] : others,
        ...(password && { password }),
      };
      return user
        ? ask(
            api.PATCH("/api/v1/operator/users/{user}", {
              params: { path: { user: user.id } },
              body: { ...body, disabled },
            }),
          )
        : ask(api.POST("/api/v1/operator/users", { body: { id: id.trim(), ...body } }));
    },
    done: user ? `${id} was changed.` : `${id} was created.`,
    touches: [["operator", "users"]],
    after: onClose,
  });
  return (
    <Confirm
      open
      title={user ? `Change ${user.id}` : "New user"}
      action={user ? "Change" : "Create"}
      onClose={onClose}
      busy={save.isPending}
      error={save.error}
      disabled={id.trim() === "" || isShort}
      onConfirm={() => save.mutate()}
    >
      {!user && <Input label="User" required maxLength={200} autoComplete="off" value={id} onText={setId} />}
      <Input
        label={user ? "New password" : "Password"}
        type="password"
        autoComplete="new-password"
        hint={
          user?.has_password
            ? "Empty: unchanged. A new one ends their sessions."
            : "Empty: they log in by token or link only."
        }
        error={isShort ? `At least ${SHORTEST} characters.` : null}
        maxLength={1024}
        value={password}
        onText={setPassword}
      />
      <Checkbox label="Operator: looks after all organizations" checked={operator} onCheck={setOperator} />
      {operator && (
        <Checkbox
          label="Sees parameters, errors and results in all organizations"
          checked={seesPayload}
          onCheck={setSeesPayload}
        />
      )}
      {user && (
        <Checkbox
          label="Disabled: can't log in, their sessions end, and their tokens are revoked for good"
          checked={disabled}
          onCheck={setDisabled}
        />
      )}
    </Confirm>
  );
}
