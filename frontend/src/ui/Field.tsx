import {
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
} from "react";
import { cx } from "./cx";

const CONTROL =
  "w-full min-w-0 rounded-md border border-edge/60 bg-surface px-2.5 text-ink placeholder:text-muted disabled:opacity-60";

interface FieldProps {
  label: string;
  hint?: ReactNode;
  error?: string | null | undefined;
  /** The label is for those who do not see the field; what it is, is plain from its place. */
  hideLabel?: boolean;
}

interface Described {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

/** A label, a control, and below it a hint or what is wrong with it. */
function Field<Given extends FieldProps>({
  given,
  children,
}: {
  given: Given;
  /** The control; it gets all that is given but what stands around it. */
  children: (control: Omit<Given, keyof FieldProps> & Described) => ReactNode;
}) {
  const { label, hint, error, hideLabel = false, ...rest } = given;
  const id = useId();
  const told = error || hint;
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <label htmlFor={id} className={hideLabel ? "sr-only" : "text-xs font-medium text-muted"}>
        {label}
      </label>
      {children({
        id,
        "aria-describedby": told ? `${id}-hint` : undefined,
        "aria-invalid": error ? true : undefined,
        ...rest,
      })}
      {told && (
        <p id={`${id}-hint`} className={cx("text-xs", error ? "text-bad" : "text-muted")}>
          {told}
        </p>
      )}
    </div>
  );
}

/** Called with what somebody wrote or chose. */
type OnText = { onText?: (text: string) => void };

export function Input({ className, onText, ...given }: FieldProps & OnText & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <Field given={given}>
      {(control) => (
        <input
          {...(onText && { onChange: (event) => onText(event.target.value) })}
          {...control}
          className={cx(CONTROL, "h-8 text-sm", className)}
        />
      )}
    </Field>
  );
}

export function Textarea({
  className,
  onText,
  ...given
}: FieldProps & OnText & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  return (
    <Field given={given}>
      {(control) => (
        <textarea
          {...(onText && { onChange: (event) => onText(event.target.value) })}
          {...control}
          className={cx(CONTROL, "min-h-24 py-1.5 text-sm", className)}
        />
      )}
    </Field>
  );
}

export function Select({
  className,
  onText,
  small = false,
  children,
  ...given
}: FieldProps & OnText & { small?: boolean } & SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <Field given={given}>
      {(control) => (
        <select
          {...(onText && { onChange: (event) => onText(event.target.value) })}
          {...control}
          className={cx(CONTROL, small ? "h-7 text-xs" : "h-8 text-sm", className)}
        >
          {children}
        </select>
      )}
    </Field>
  );
}

/** A moment to choose, in the reader's own time zone; `value` is in UTC. */
export function Moment({
  label,
  hint,
  value,
  onChange,
}: {
  label: string;
  hint?: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}) {
  const date = value ? new Date(value) : null;
  const local =
    date && !Number.isNaN(date.getTime())
      ? new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
      : "";
  return (
    <Input
      label={label}
      hint={hint}
      type="datetime-local"
      value={local}
      onChange={(event) => onChange(event.target.value ? new Date(event.target.value).toISOString() : undefined)}
    />
  );
}

export function Checkbox({
  label,
  onCheck,
  ...rest
}: { label: ReactNode; onCheck: (checked: boolean) => void } & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <label className="flex items-center gap-2 text-sm">
      <input type="checkbox" onChange={(event) => onCheck(event.target.checked)} {...rest} />
      {label}
    </label>
  );
}
