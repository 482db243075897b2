import {
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
} from "react";
import { cx } from "./cx";

const CONTROL =
  "w-full min-w-0 rounded-md border border-edge/60 bg-surface px-2.5 text-sm text-ink placeholder:text-muted disabled:opacity-60";

interface FrameProps {
  label: string;
  hint?: ReactNode;
  error?: string | null | undefined;
  /** The label is for those who do not see the field; what it is, is plain from its place. */
  hideLabel?: boolean;
}

function Frame({ id, label, hint, error, hideLabel, children }: FrameProps & { id: string; children: ReactNode }) {
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <label htmlFor={id} className={hideLabel ? "sr-only" : "text-xs font-medium text-muted"}>
        {label}
      </label>
      {children}
      {(error || hint) && (
        <p id={`${id}-hint`} className={cx("text-xs", error ? "text-bad" : "text-muted")}>
          {error || hint}
        </p>
      )}
    </div>
  );
}

function described(id: string, { hint, error }: FrameProps) {
  return { id, "aria-describedby": hint || error ? `${id}-hint` : undefined, "aria-invalid": error ? true : undefined };
}

export function Input({
  label,
  hint,
  error,
  hideLabel = false,
  className,
  ...rest
}: FrameProps & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error} hideLabel={hideLabel}>
      <input {...described(id, { label, hint, error })} {...rest} className={cx(CONTROL, "h-8", className)} />
    </Frame>
  );
}

export function Textarea({
  label,
  hint,
  error,
  hideLabel = false,
  className,
  ...rest
}: FrameProps & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error} hideLabel={hideLabel}>
      <textarea
        {...described(id, { label, hint, error })}
        {...rest}
        className={cx(CONTROL, "min-h-24 py-1.5", className)}
      />
    </Frame>
  );
}

export function Select({
  label,
  hint,
  error,
  hideLabel = false,
  className,
  children,
  ...rest
}: FrameProps & SelectHTMLAttributes<HTMLSelectElement>) {
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error} hideLabel={hideLabel}>
      <select {...described(id, { label, hint, error })} {...rest} className={cx(CONTROL, "h-8", className)}>
        {children}
      </select>
    </Frame>
  );
}

export function Checkbox({ label, ...rest }: { label: ReactNode } & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <label className="flex items-center gap-2 text-sm">
      <input type="checkbox" {...rest} />
      {label}
    </label>
  );
}
