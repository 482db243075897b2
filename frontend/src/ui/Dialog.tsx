import { type FormEvent, type ReactNode, useId } from "react";
import { Button } from "./Button";
import { cx } from "./cx";
import { useModal } from "./modal";
import { sentence } from "./States";

interface Props {
  open: boolean;
  title: string;
  onClose: () => void;
  children: ReactNode;
  wide?: boolean;
  /** Nothing but its buttons closes it: what it shows is shown this once. */
  stays?: boolean;
}

/** A dialog over the page. */
export function Dialog({ open, title, onClose, children, wide = false, stays = false }: Props) {
  const id = useId();
  const modal = useModal(open, onClose, stays);
  if (!open) return null;
  return (
    <dialog
      {...modal}
      aria-labelledby={id}
      className={cx(
        "m-auto max-h-[90dvh] w-[calc(100%-2rem)] overflow-y-auto rounded-xl border border-line bg-raised p-0 text-left text-ink shadow-2xl",
        wide ? "max-w-2xl" : "max-w-md",
      )}
    >
      <div className="flex flex-col gap-4 p-5">
        <h2 id={id} className="text-base font-semibold">
          {title}
        </h2>
        {children}
      </div>
    </dialog>
  );
}

interface ConfirmProps extends Props {
  /** What the button says: what will be done. */
  action: string;
  danger?: boolean;
  busy?: boolean;
  error?: unknown;
  disabled?: boolean;
  onConfirm: () => void;
}

/** Asks before something is done; also the frame of each small form. Enter confirms. */
export function Confirm({
  action,
  danger = false,
  busy = false,
  error,
  disabled = false,
  onConfirm,
  children,
  ...dialog
}: ConfirmProps) {
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!busy && !disabled) onConfirm();
  };
  return (
    <Dialog {...dialog}>
      <form onSubmit={submit} className="flex flex-col gap-4">
        <div className="flex flex-col gap-3 text-sm">{children}</div>
        {error ? (
          <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-sm break-words text-bad">
            {sentence(error)}
          </p>
        ) : null}
        <div className="flex justify-end gap-2">
          <Button onClick={dialog.onClose}>Close</Button>
          <Button type="submit" look={danger ? "danger" : "primary"} busy={busy} disabled={disabled}>
            {action}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
