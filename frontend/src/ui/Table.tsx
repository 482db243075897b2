import type { ReactNode } from "react";
import { Button } from "./Button";
import { cx } from "./cx";
import { Outdated, type Source } from "./Outdated";
import { EmptyState, ErrorState, Skeleton } from "./States";

export interface Column<Row> {
  head: string;
  cell: (row: Row) => ReactNode;
  /** Numbers stand at the right. */
  right?: boolean;
  /** From which width of the screen on it is shown; left out: always. */
  from?: "sm" | "md" | "lg";
  /** Takes what is left, and is cut where that is too little. */
  wide?: boolean;
}

const WIDTHS = ["all", "sm", "md", "lg"] as const;
/** More room at the table's right edge than between columns. */
const EDGE = { all: "pr-4", sm: "sm:pr-4", md: "md:pr-4", lg: "lg:pr-4" };
const INNER = { all: "pr-2", sm: "sm:pr-2", md: "md:pr-2", lg: "lg:pr-2" };

/** The room at the right of a column: which one is the last differs from width to width. */
function roomOf<Row>(columns: readonly Column<Row>[], index: number): string {
  const later = columns.slice(index + 1).map(({ from }) => WIDTHS.indexOf(from ?? "all"));
  return WIDTHS.map((width, at) => (later.some((from) => from <= at) ? INNER : EDGE)[width]).join(" ");
}

const FROM = { sm: "hidden sm:table-cell", md: "hidden md:table-cell", lg: "hidden lg:table-cell" };

interface Props<Row> {
  /** What the table shows, for those who do not see it. */
  caption: string;
  columns: readonly Column<Row>[];
  /** Undefined: they are on their way. */
  rows: readonly Row[] | undefined;
  rowKey: (row: Row) => string;
  /** The question that they answer. */
  source?: Source;
  empty?: ReactNode;
  /** Rows with boxes to choose them by; the keys of those that are chosen. */
  chosen?: ReadonlySet<string>;
  onChoose?: (chosen: ReadonlySet<string>) => void;
  /** The keys of rows that are only held, and no longer among those that were asked for. */
  gone?: ReadonlySet<string>;
  /** Called when a row, and nothing in it, is clicked; the row needs a link in it for the keyboard. */
  onOpen?: (row: Row) => void;
}

/** A dense table. Its states, nothing there, an error, old or not yet loaded, look the same everywhere. */
export function Table<Row>({ source, ...props }: Props<Row>) {
  const { rows, empty } = props;
  if (rows === undefined)
    return source?.error ? (
      <ErrorState error={source.error} onRetry={() => void source.refetch()} />
    ) : (
      <Skeleton rows={5} />
    );
  return (
    <>
      {source && <Outdated source={source} />}
      {rows.length === 0 ? (empty ?? <EmptyState title="Nothing here" />) : <Rows {...props} rows={rows} />}
    </>
  );
}

function Rows<Row>(props: Omit<Props<Row>, "source" | "empty"> & { rows: readonly Row[] }) {
  const { caption, columns, rows, rowKey, chosen, onChoose, gone, onOpen } = props;
  const keys = rows.map(rowKey);
  const all = chosen !== undefined && keys.every((key) => chosen.has(key));
  return (
    <div className="relative overflow-x-auto">
      <table className="w-full border-collapse text-sm">
        <caption className="sr-only">{caption}</caption>
        <thead>
          <tr className="border-b border-line text-left text-xs text-muted">
            {chosen && onChoose && (
              <th scope="col" className="w-8 py-2 pl-4 align-middle">
                <input
                  type="checkbox"
                  aria-label="Choose all on this page"
                  checked={all}
                  onChange={() => onChoose(all ? without(chosen, keys) : new Set([...chosen, ...keys]))}
                />
              </th>
            )}
            {columns.map((column, index) => (
              <th
                key={column.head}
                scope="col"
                className={cx(
                  "py-2 pl-2 font-medium whitespace-nowrap first:pl-4",
                  roomOf(columns, index),
                  column.right && "text-right",
                  column.from && FROM[column.from],
                )}
              >
                {column.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const key = rowKey(row);
            return (
              <tr
                key={key}
                className={cx(
                  "border-b border-line last:border-0 hover:bg-hover",
                  onOpen && "cursor-pointer",
                  chosen?.has(key) && "bg-accent-soft",
                  gone?.has(key) && "text-muted",
                )}
                onClick={(event) => {
                  if (
                    onOpen &&
                    !(event.target as Element).closest("a, button, input, label, summary") &&
                    !getSelection()?.toString()
                  )
                    onOpen(row);
                }}
              >
                {chosen && onChoose && (
                  <td className="w-8 py-[var(--row)] pl-4 align-top">
                    <input
                      type="checkbox"
                      aria-label={`Choose ${key}`}
                      className="mt-1"
                      checked={chosen.has(key)}
                      onChange={() => onChoose(chosen.has(key) ? without(chosen, [key]) : new Set([...chosen, key]))}
                    />
                  </td>
                )}
                {columns.map((column, index) => (
                  <td
                    key={column.head}
                    className={cx(
                      "py-[var(--row)] pl-2 align-top first:pl-4",
                      roomOf(columns, index),
                      column.right && "text-right",
                      column.from && FROM[column.from],
                      column.wide && "w-full max-w-0 truncate",
                    )}
                  >
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function without(chosen: ReadonlySet<string>, keys: readonly string[]): ReadonlySet<string> {
  return new Set([...chosen].filter((one) => !keys.includes(one)));
}

/** What can be done with a row: side by side, or one below the other where the screen is narrow. */
export function RowActions({ children }: { children: ReactNode }) {
  return <span className="inline-flex flex-col gap-1.5 sm:flex-row sm:justify-end">{children}</span>;
}

interface PagerProps {
  /** Whether this is the first page. */
  first: boolean;
  /** The cursor of the next page; null: this is the last one. */
  next: string | null | undefined;
  onFirst: () => void;
  onNext: (cursor: string) => void;
  children?: ReactNode;
}

/** Pages by keyset: forward, and back to the first; the browser's own button goes a page back. */
export function Pager({ first, next, onFirst, onNext, children }: PagerProps) {
  if (first && !next && !children) return null;
  return (
    <nav
      aria-label="Pages"
      className="flex flex-wrap items-center justify-between gap-2 border-t border-line px-4 py-2"
    >
      <div className="text-xs text-muted">{children}</div>
      <div className="flex gap-2">
        {!first && (
          <Button small onClick={onFirst}>
            First page
          </Button>
        )}
        <Button small disabled={!next} onClick={() => next && onNext(next)}>
          Next page
        </Button>
      </div>
    </nav>
  );
}
