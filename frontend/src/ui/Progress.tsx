import { cx } from "./cx";

interface Props {
  /** Null: nobody has said how far it is, so it only says that something goes on. */
  percent: number | null | undefined;
  label: string;
  /** Full is no good end. */
  isLimit?: boolean;
}

/** A bar. */
export function Progress({ percent, label, isLimit = false }: Props) {
  const known = percent !== null && percent !== undefined;
  const value = known ? Math.min(100, Math.max(0, percent)) : undefined;
  return (
    <div className="flex items-center gap-2">
      <div
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={value === undefined ? undefined : Math.round(value)}
        className="h-1.5 min-w-16 flex-1 overflow-hidden rounded-full bg-sunken"
      >
        <div
          className={cx(
            "h-full rounded-full transition-[width] duration-300",
            isLimit && value === 100 ? "bg-warn" : "bg-accent-strong",
            !known && "animate-pulse opacity-40",
          )}
          style={{ width: `${value ?? 100}%` }}
        />
      </div>
      <span className="w-10 text-right text-xs whitespace-nowrap text-muted">
        {value === undefined ? "" : `${Math.floor(value)} %`}
      </span>
    </div>
  );
}
