/** Rows that stand still while somebody is about to click one. */
import { useEffect, useState } from "react";

/** The rows in the order in which they stand, each as it is now where that is known; what came meanwhile waits. Pure. */
export function steady<Row>(standing: readonly Row[], now: readonly Row[], keyOf: (row: Row) => string) {
  const fresh = new Map(now.map((row) => [keyOf(row), row]));
  const rows = standing.map((row) => fresh.get(keyOf(row)) ?? row);
  const shown = new Set(rows.map(keyOf));
  return { rows, waiting: now.filter((row) => !shown.has(keyOf(row))).length };
}

/**
 * Rows that keep their order from `hold` until `release`.
 *
 * `name` is that of the list: another one begins anew. `waiting` counts what has come meanwhile; `renew` shows it, too.
 */
export function useSteady<Row>(name: string, now: readonly Row[] | undefined, keyOf: (row: Row) => string) {
  const [kept, setKept] = useState<{ name: string; rows: readonly Row[] } | null>(null);
  const standing = kept?.name === name ? kept.rows : null;
  const found = standing && now ? steady(standing, now, keyOf) : null;
  useEffect(() => {
    // Of one that has left the list it is kept how it stood last.
    if (now) setKept((before) => before && { ...before, rows: steady(before.rows, now, keyOf).rows });
  }, [now, keyOf]);
  const renew = () => setKept(now && now.length > 0 ? { name, rows: now } : null);
  return {
    rows: found?.rows ?? now,
    waiting: found?.waiting ?? 0,
    hold: () => standing === null && renew(),
    release: () => setKept(null),
    renew,
  };
}
