import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { meQuery } from "../../api/queries";
import { Button, Card, Input, sentence } from "../../ui";

const SHORTEST = 12; // characters, as the server has it

/** One's own password, for whoever has logged in with a session. */
export function Password() {
  const { data: me } = useQuery(meQuery);
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const save = useAct({
    run: () => ask(api.PUT("/api/v1/sessions/current/password", { body: { current, new: next } })),
    done: "Your password was changed; you are logged out everywhere else.",
    touches: [],
    after: () => {
      setCurrent("");
      setNext("");
    },
  });
  if (me?.via !== "session") return null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Card title="Password">
      <form onSubmit={submit} className="grid gap-4 sm:grid-cols-2">
        <Input
          label="Current password"
          type="password"
          autoComplete="current-password"
          required
          maxLength={1024}
          value={current}
          onText={setCurrent}
          error={save.error ? sentence(save.error) : null}
        />
        <Input
          label="New password"
          type="password"
          autoComplete="new-password"
          required
          minLength={SHORTEST}
          maxLength={1024}
          value={next}
          onText={setNext}
          hint={`${SHORTEST} characters or more`}
        />
        <div>
          <Button type="submit" busy={save.isPending} disabled={current === "" || next.length < SHORTEST}>
            Change password
          </Button>
        </div>
      </form>
    </Card>
  );
}
