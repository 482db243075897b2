/** Rows that stand still while somebody is about to click one. */
import { useState } from "react";

/** Rows that stand still, and of which list they are. */
export interface Kept<Row> {
  name: string;
  rows: readonly Row[];
}

/** A list as it is now. */
export interface Listed<Row> {
  /** Another one begins anew. */
  name: string;
  /** Undefined: they are on their way. */
  rows: readonly Row[] | undefined;
  /** Whether the rows are those of the question before, until this one's are here. */
  isStandIn: boolean;
  keyOf: (row: Row) => string;
}

/**
 * The rows in the order in which they stand, each as it is now where that is known. `waiting` counts what has come
 * meanwhile; how those are that are `gone`, by their keys, nobody tells any more. Pure.
 */
export function steady<Row>(standing: readonly Row[], now: readonly Row[], keyOf: (row: Row) => string) {
  const fresh = new Map(now.map((row) => [keyOf(row), row]));
  const shown = new Set(standing.map(keyOf));
  const gone: ReadonlySet<string> = new Set([...shown].filter((key) => !fresh.has(key)));
  return {
    rows: standing.map((row) => fresh.get(keyOf(row)) ?? row),
    waiting: now.filter((row) => !shown.has(keyOf(row))).length,
    gone,
  };
}

/** What stands still from now on, after what stood still before; null: nothing does. Pure. */
export function keep<Row>(before: Kept<Row> | null, list: Listed<Row>, isHeld: boolean): Kept<Row> | null {
  const { name, rows, isStandIn, keyOf } = list;
  if (!isHeld) return null;
  const same = before?.name === name ? before : null;
  // What stands in for an answer goes with it: nothing to hold on to.
  if (rows === undefined || isStandIn) return same;
  if (same === null) return rows.length > 0 ? { name, rows } : null;
  // Of one that has left the list it is kept how it stood last.
  const next = steady(same.rows, rows, keyOf).rows;
  return next.every((row, index) => row === same.rows[index]) ? same : { name, rows: next };
}

const NONE: ReadonlySet<string> = new Set();

/**
 * Rows that keep their order while they are held. `hold` is called after each drawing, as what holds them may be in
 * what was drawn; `renew` shows what waits, too, and lets go of what is gone.
 */
export function useSteady<Row>(list: Listed<Row>) {
  const [kept, setKept] = useState<Kept<Row> | null>(null);
  const { name, rows, keyOf } = list;
  const found = kept?.name === name && rows ? steady(kept.rows, rows, keyOf) : { rows, waiting: 0, gone: NONE };
  return {
    ...found,
    hold: (isHeld: boolean) => setKept((before) => keep(before, list, isHeld)),
    renew: () => setKept(keep(null, list, true)),
  };
}
