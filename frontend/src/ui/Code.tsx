import { Button } from "./Button";
import { cx } from "./cx";
import { toast } from "./Toast";

/** Text as a machine wrote it. Longer ones scroll. */
export function Code({ text, className, label }: { text: string; className?: string; label: string }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is of a form, and its content no text of a machine's
    <pre
      role="group"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
      tabIndex={0}
      aria-label={label}
      className={cx(
        "max-h-96 overflow-auto rounded-md bg-sunken p-3 font-mono text-xs leading-relaxed whitespace-pre-wrap break-words",
        className,
      )}
    >
      {text}
    </pre>
  );
}

/** An id or a name of a machine's, within a line. */
export function Mono({ children, title }: { children: string; title?: string }) {
  return (
    <span title={title} className="font-mono text-xs wrap-anywhere">
      {children}
    </span>
  );
}

/** A key of the keyboard. */
export function Kbd({ children }: { children: string }) {
  return (
    <kbd className="rounded border border-line bg-sunken px-1.5 py-0.5 font-sans text-[0.6875rem] text-muted">
      {children}
    </kbd>
  );
}

interface CopyProps {
  /** A function where it takes time to make it. */
  text: string | (() => string);
  label?: string;
  done?: string;
  small?: boolean;
}

export function CopyButton({ text, label = "Copy", done = "Copied", small = true }: CopyProps) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "string" ? text : text());
      toast(done);
    } catch {
      toast("The browser does not let this page copy; mark the text and copy it yourself.", { bad: true });
    }
  };
  return (
    <Button small={small} onClick={copy}>
      {label}
    </Button>
  );
}
