import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type KeyboardEvent, useId, useMemo, useState } from "react";
import { api, ask } from "../api/client";
import { jobsQuery, meQuery, mineQuery } from "../api/queries";
import { cx, Kbd, usePaused } from "../ui";
import { useModal } from "../ui/modal";
import { type Choice, matching, partOfId } from "./choices";
import type { Entry } from "./menu";

interface Props {
  open: boolean;
  onClose: () => void;
  entries: readonly Entry[];
  organization: string | null;
}

/** Goes anywhere by a few letters: screens, organizations, a job by its id. */
export function Palette({ open, onClose, entries, organization }: Props) {
  const modal = useModal(open, onClose);
  if (!open) return null;
  return (
    <dialog
      {...modal}
      aria-label="Go to"
      className="mx-auto mt-[12dvh] w-[calc(100%-2rem)] max-w-lg overflow-hidden rounded-xl border border-line bg-raised p-0 text-ink shadow-2xl"
    >
      <Choices onClose={onClose} entries={entries} organization={organization} />
    </dialog>
  );
}

function Choices({ onClose, entries, organization }: Omit<Props, "open">) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const id = useId();
  const navigate = useNavigate();
  const choices = useChoices(text, entries, organization);
  const current = Math.min(at, choices.length - 1);
  const go = (choice: Choice | undefined) => {
    if (!choice) return;
    onClose();
    void navigate({ to: choice.to, params: choice.params, ...(choice.search && { search: choice.search as never }) });
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") setAt(Math.min(current + 1, choices.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(current - 1, 0));
    else if (event.key === "Enter") go(choices[current]);
    else return;
    event.preventDefault();
  };
  return (
    <>
      <input
        // biome-ignore lint/a11y/noAutofocus: it was opened to type into
        autoFocus
        role="combobox"
        aria-expanded
        aria-label="Go to"
        aria-controls={`${id}-list`}
        aria-activedescendant={choices[current] ? `${id}-${current}` : undefined}
        placeholder="A screen, an organization, a job's id…"
        className="w-full border-b border-line bg-transparent px-4 py-3 text-sm outline-none placeholder:text-muted"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={onKey}
      />
      <div role="listbox" id={`${id}-list`} aria-label="Places" className="max-h-80 overflow-y-auto p-1.5">
        {choices.map((choice, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: keys go to the input
          // biome-ignore lint/a11y/useFocusableInteractive: the input keeps the focus
          <div
            key={`${choice.kind} ${choice.label}`}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === current}
            onMouseMove={() => setAt(index)}
            onClick={() => go(choice)}
            className={cx(
              "flex cursor-pointer items-center justify-between gap-3 rounded-md px-2.5 py-2 text-sm",
              index === current && "bg-accent-soft",
            )}
          >
            <span className="min-w-0 truncate">{choice.label}</span>
            <span className="shrink-0 text-xs text-muted">{choice.kind}</span>
          </div>
        ))}
      </div>
      {choices.length === 0 && <p className="px-4 pb-6 text-center text-sm text-muted">Nothing fits.</p>}
      <p className="hidden gap-3 border-t border-line px-4 py-2 text-xs text-muted sm:flex">
        <span>
          <Kbd>↑</Kbd> <Kbd>↓</Kbd> choose
        </span>
        <span>
          <Kbd>Enter</Kbd> go
        </span>
        <span>
          <Kbd>Esc</Kbd> close
        </span>
      </p>
    </>
  );
}

function useChoices(text: string, entries: readonly Entry[], organization: string | null): Choice[] {
  const { data: me } = useQuery(meQuery);
  const { data: mine } = useQuery(mineQuery);
  const sought = usePaused(text);
  const { data: found } = useQuery({
    queryKey: ["operator", "organizations", "palette", sought],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/operator/organizations", { params: { query: { limit: 20, text: sought } }, signal })),
    enabled: me?.is_operator ?? false,
    placeholderData: (before) => before,
  });
  const part = partOfId(sought);
  const { data: jobs } = useQuery({
    ...jobsQuery(organization ?? "", { text: part ?? "" }, { limit: 2 }),
    enabled: organization !== null && part !== null,
  });
  return useMemo(
    () =>
      matching(text, {
        // Of the text before, they are of no use.
        jobs: (text === sought && jobs?.items) || [],
        entries,
        organization,
        isOperator: me?.is_operator ?? false,
        organizations: [...(mine?.items ?? []), ...(found?.items ?? [])],
      }),
    [text, sought, entries, organization, me, mine, found, jobs],
  );
}
