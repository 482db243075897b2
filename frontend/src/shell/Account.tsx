import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { useAct } from "../api/act";
import { api, ask } from "../api/client";
import { meQuery } from "../api/queries";
import { live } from "../live/client";
import { applyAppearance, recall, remember, type Theme } from "../settings";
import { Button, Select } from "../ui";

/** Who one is, how the page looks, and the way out. */
export function Account() {
  const { data: me } = useQuery(meQuery);
  const [open, setOpen] = useState(false);
  const [theme, setTheme] = useState<Theme>(() => recall<Theme>("theme", "system"));
  const box = useRef<HTMLDivElement>(null);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const leave = useAct({
    run: () => ask(api.DELETE("/api/v1/sessions/current")),
    done: null,
    touches: [],
    toastsError: true,
    after: async () => {
      live.close();
      queries.clear();
      await navigate({ to: "/login" });
    },
  });
  useEffect(() => {
    if (!open) return;
    const onPointer = (event: PointerEvent) => box.current?.contains(event.target as Node) || setOpen(false);
    const onKey = (event: KeyboardEvent) => event.key === "Escape" && setOpen(false);
    addEventListener("pointerdown", onPointer);
    addEventListener("keydown", onKey);
    return () => {
      removeEventListener("pointerdown", onPointer);
      removeEventListener("keydown", onKey);
    };
  }, [open]);
  if (!me) return null;
  return (
    <div ref={box} className="relative">
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex size-7 items-center justify-center rounded-full bg-accent-soft text-xs font-semibold text-accent uppercase"
      >
        <span className="sr-only">Account of {me.user}</span>
        <span aria-hidden>{me.user.slice(0, 2)}</span>
      </button>
      {open && (
        <div className="absolute right-0 z-40 mt-2 flex w-60 flex-col gap-3 rounded-lg border border-line bg-raised p-3 shadow-lg">
          <div className="text-sm">
            <p className="font-medium break-words">{me.user}</p>
            <p className="text-xs text-muted">{me.is_operator ? "Operator" : "Member"}</p>
          </div>
          <Select
            label="Appearance"
            value={theme}
            onChange={(event) => {
              const chosen = event.target.value as Theme;
              setTheme(chosen);
              remember("theme", chosen);
              applyAppearance();
            }}
          >
            <option value="system">As the system</option>
            <option value="light">Light</option>
            <option value="dark">Dark</option>
          </Select>
          <Button busy={leave.isPending} onClick={() => leave.mutate()}>
            Log out
          </Button>
        </div>
      )}
    </div>
  );
}
