import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter, useSearch } from "@tanstack/react-router";
import { type FormEvent, useEffect, useState } from "react";
import { api, ask, BASE } from "../../api/client";
import { meQuery } from "../../api/queries";
import { Logo } from "../../shell/Logo";
import { Button, Input, sentence } from "../../ui";
import { inside } from "./search";

const LINK_FAILED = "That link was used already, or is too old. `fairlane serve` prints a new one when it is started.";

/** Log in by password. A one-time link of `fairlane serve` leads past it; one that does not log in leads here. */
export function Login() {
  const queries = useQueryClient();
  const router = useRouter();
  const { next, link } = useSearch({ from: "/login" });
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const logIn = useMutation({
    mutationFn: () => ask(api.POST("/api/v1/sessions", { body: { user, password } })),
    onSuccess: (me) => {
      queries.clear();
      queries.setQueryData(meQuery.queryKey, me);
      router.history.replace(inside(next, BASE));
    },
  });
  useEffect(() => {
    document.title = "Log in · Fairlane";
  }, []);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    logIn.mutate();
  };
  const failed = logIn.error ? sentence(logIn.error) : link !== undefined && !logIn.isPending ? LINK_FAILED : null;
  return (
    <main className="grid min-h-dvh place-items-center px-4 py-10">
      <form
        onSubmit={submit}
        className="flex w-full max-w-sm flex-col gap-5 rounded-xl border border-line bg-surface p-6 shadow-sm sm:p-8"
      >
        <div className="flex flex-col gap-3">
          <Logo large />
          <h1 className="text-lg font-semibold tracking-tight">Log in to Fairlane</h1>
        </div>
        <Input
          label="User"
          name="username"
          autoComplete="username"
          required
          maxLength={200}
          value={user}
          onText={setUser}
        />
        <Input
          label="Password"
          name="password"
          type="password"
          autoComplete="current-password"
          required
          maxLength={1024}
          value={password}
          onText={setPassword}
        />
        {failed && (
          <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-sm text-bad">
            {failed}
          </p>
        )}
        <Button type="submit" look="primary" busy={logIn.isPending}>
          Log in
        </Button>
      </form>
    </main>
  );
}
