import type { ButtonHTMLAttributes, ReactNode, Ref } from "react";
import { cx } from "./cx";

type Look = "plain" | "primary" | "danger" | "quiet";

const LOOKS: Record<Look, string> = {
  plain: "border border-line bg-raised text-ink hover:bg-hover",
  primary: "border border-transparent bg-accent-strong text-white hover:opacity-90",
  danger: "border border-transparent bg-bad-strong text-white hover:opacity-90",
  quiet: "border border-transparent text-muted hover:bg-hover hover:text-ink",
};

/** What a button looks like, for links that look like one. */
export function buttonClass(look: Look = "plain", small = false): string {
  return cx(
    "inline-flex shrink-0 items-center justify-center gap-1.5 rounded-md font-medium whitespace-nowrap transition-colors",
    "disabled:cursor-not-allowed disabled:opacity-50 aria-disabled:cursor-not-allowed aria-disabled:opacity-50",
    small ? "h-7 px-2 text-xs" : "h-8 px-3 text-sm",
    LOOKS[look],
  );
}

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  small?: boolean;
  /** Something is on its way: the button waits for it. */
  busy?: boolean;
  children: ReactNode;
  ref?: Ref<HTMLButtonElement>;
}

export function Button({ look = "plain", small = false, busy = false, disabled, className, children, ...rest }: Props) {
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      className={cx(buttonClass(look, small), className)}
    >
      {busy && (
        <span aria-hidden className="size-3 animate-spin rounded-full border-2 border-current border-r-transparent" />
      )}
      {children}
    </button>
  );
}
