/** What an audit entry says was changed, in words and in the reader's time. Pure. */
import { written } from "../../api/json";
import { exact, words } from "../../ui/format";

export interface Change {
  name: string;
  from: string | null;
  to: string | null;
}

/** What says nothing where nothing was there before. */
const EMPTY: ReadonlySet<string | null> = new Set(["", "null", "[]"]);

const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

type Values = Readonly<Record<string, unknown>> | null;

export function changesOf(before: Values, after: Values): Change[] {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const changes = names.map((name) => ({
    name: words(name),
    from: shown(before, name),
    to: shown(after, name),
  }));
  return changes.filter(({ from, to }) => from !== to && (from !== null || !EMPTY.has(to)));
}

function shown(values: Values, name: string): string | null {
  if (values === null || !(name in values)) return null;
  const value = values[name];
  const text = written(value);
  if (typeof value !== "string" || !text.startsWith('"')) return text;
  return MOMENT.test(value) ? exact(new Date(value)) : name === "status" ? words(value) : value;
}
