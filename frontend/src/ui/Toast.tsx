import { type ReactNode, useSyncExternalStore } from "react";
import { cx } from "./cx";

interface Note {
  id: number;
  text: ReactNode;
  bad: boolean;
}

const SHOWN = 6_000; // milliseconds
let notes: readonly Note[] = [];
let last = 0;
const listeners = new Set<() => void>();

function set(next: readonly Note[]) {
  notes = next;
  for (const listener of listeners) listener();
}

/** Say in a corner what was done, or that it was not. */
export function toast(text: ReactNode, { bad = false } = {}): void {
  last += 1;
  const id = last;
  set([...notes.slice(-3), { id, text, bad }]);
  setTimeout(() => dismiss(id), bad ? 2 * SHOWN : SHOWN);
}

function dismiss(id: number) {
  set(notes.filter((one) => one.id !== id));
}

/** Where they appear; once, in the shell. */
export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => notes,
  );
  return (
    <div aria-live="polite" className="pointer-events-none fixed inset-x-4 bottom-4 z-50 flex flex-col items-end gap-2">
      {shown.map((note) => (
        <div
          key={note.id}
          className={cx(
            "pointer-events-auto flex max-w-sm items-start gap-3 rounded-lg border bg-raised px-4 py-2.5 text-sm shadow-lg",
            note.bad ? "border-bad text-bad" : "border-line",
          )}
        >
          <span className="min-w-0 break-words">{note.text}</span>
          <button
            type="button"
            aria-label="Dismiss"
            className="text-muted hover:text-ink"
            onClick={() => dismiss(note.id)}
          >
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
