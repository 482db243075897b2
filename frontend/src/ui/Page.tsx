import { type ReactNode, useEffect } from "react";
import { cx } from "./cx";

interface PageProps {
  title: string;
  /** Beside the title: a badge, say. */
  mark?: ReactNode;
  description?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

/** A screen: its title, what can be done with it, and its content. */
export function Page({ title, mark, description, actions, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} · Fairlane`;
  }, [title]);
  return (
    <div className="mx-auto flex w-full max-w-7xl flex-col gap-5 px-4 py-5 sm:px-6 sm:py-6">
      <header className="flex flex-wrap items-start justify-between gap-x-4 gap-y-3">
        <div className="min-w-0">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <h1 className="min-w-0 text-xl font-semibold tracking-tight break-words">{title}</h1>
            {mark}
          </div>
          {description && <div className="mt-1 max-w-prose text-sm text-muted">{description}</div>}
        </div>
        {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

interface CardProps {
  title?: ReactNode;
  actions?: ReactNode;
  /** Whether its content reaches its edges, as a table does. */
  flush?: boolean;
  className?: string;
  children: ReactNode;
}

/** A part of a screen, with a title of its own. */
export function Card({ title, actions, flush = false, className, children }: CardProps) {
  return (
    <section className={cx("min-w-0 rounded-lg border border-line bg-surface", className)}>
      {(title || actions) && (
        <header className="flex flex-wrap items-center justify-between gap-2 border-b border-line px-4 py-2.5">
          <h2 className="text-sm font-semibold">{title}</h2>
          {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
        </header>
      )}
      <div className={flush ? "" : "p-4"}>{children}</div>
    </section>
  );
}

/** A link as the label of a `Stat` covers all of it. */
export const STAT_LINK = "-my-1 block py-1 after:absolute after:inset-0 after:rounded-lg";

/** A number that people watch, with what it is. Where its label is a link, an arrow says so. */
export function Stat({
  label,
  value,
  hint,
  tone,
  title,
}: {
  label: ReactNode;
  value: ReactNode;
  hint?: ReactNode;
  tone?: "bad" | "warn";
  /** More of it, when pointed at. */
  title?: string;
}) {
  return (
    <div
      title={title}
      className="group relative min-w-0 rounded-lg border border-line bg-surface px-4 py-3 has-[dt_a]:hover:bg-hover"
    >
      <dt className="flex justify-between gap-2 text-xs font-medium text-muted group-hover:group-has-[dt_a]:text-ink">
        {label}
        <span aria-hidden className="hidden text-accent group-has-[dt_a]:inline">
          →
        </span>
      </dt>
      <dd
        className={cx(
          "mt-1 text-xl font-semibold tracking-tight",
          tone === "bad" && "text-bad",
          tone === "warn" && "text-warn",
        )}
      >
        {value}
      </dd>
      {hint && <dd className="mt-0.5 text-xs text-muted">{hint}</dd>}
    </div>
  );
}

/** Names and values, one pair below the other. */
export function Facts({ items }: { items: readonly (readonly [string, ReactNode] | null | false)[] }) {
  return (
    <dl className="grid grid-cols-[minmax(6rem,auto)_1fr] gap-x-4 gap-y-2 text-sm">
      {items.map(
        (item) =>
          item && (
            <div key={item[0]} className="contents">
              <dt className="text-muted">{item[0]}</dt>
              <dd className="min-w-0 break-words">{item[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}
