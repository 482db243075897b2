/** What the fairness view draws of the operators' shares. Pure. */
import type { Schema } from "../../api/client";

export type Shares = Schema["Shares"];
export type Share = Schema["Share"];

/** So many are told apart by colour; the others are one area. */
export const COLOURS = [
  "#4f7cff",
  "#e0803c",
  "#2fa37c",
  "#b45fd0",
  "#d1495b",
  "#8f9a2b",
  "#2a9db8",
  "#a3785a",
] as const;
export const REST_COLOUR = "#8a93a3";

/** How many of a lane's jobs the server counts. */
const COUNTED = 10_000;

const NOTHING: Share["now"] = {
  running: 0,
  ready: 0,
  ready_is_capped: false,
  waiting_seconds: null,
  held: 0,
  behind_seconds: null,
};

/** Which organization is drawn in which colour. */
export type Colours = ReadonlyMap<string, string>;

/**
 * The colours of the first organizations. Whoever had one keeps it, so that nobody changes theirs while one looks; the
 * others get those that are free. The same map, where nothing is to be changed.
 */
export function coloursOf(shares: readonly Share[], before: Colours): Colours {
  const names = shares.slice(0, COLOURS.length).map(({ organization }) => organization ?? "");
  if (names.length === before.size && names.every((name) => before.has(name))) return before;
  const kept = new Set(names.map((name) => before.get(name)));
  const free = COLOURS.filter((colour) => !kept.has(colour));
  return new Map(names.map((name) => [name, before.get(name) ?? free.shift() ?? REST_COLOUR]));
}

export interface Area {
  name: string;
  colour: string;
  /** Percent of the workers' time, by minute; null: nothing was used. */
  percent: (number | null)[];
}

/** What an organization has at work and in line; null: it is one of those that are told of together. */
export function standingOf({ shares, rest }: Shares, organization: string): Share["now"] | null {
  const own = shares.find((share) => share.organization === organization);
  return own?.now ?? (rest === null ? NOTHING : null);
}

/** Whether more may be held back than the number says: of each lane so many are counted. */
export function isHeldCapped({ ready_is_capped, held }: Pick<Share["now"], "ready_is_capped" | "held">): boolean {
  return ready_is_capped && held >= COUNTED;
}

/** Each organization's part of the time that attempts took, by the minute in which they ended. */
export function areas(
  { minutes, shares, rest }: Pick<Shares, "minutes" | "shares" | "rest">,
  colours: Colours,
): Area[] {
  const shown = shares.slice(0, COLOURS.length);
  const others = [...shares.slice(COLOURS.length), ...(rest ? [rest] : [])];
  const all = [...shares, ...(rest ? [rest] : [])];
  const totals = minutes.map((_, place) => sum(all.map(({ seconds }) => seconds[place] ?? 0)));
  const percent = (some: readonly Share[]) =>
    totals.map((total, place) =>
      total > 0 ? (100 * sum(some.map(({ seconds }) => seconds[place] ?? 0))) / total : null,
    );
  const found = shown.map((share) => ({
    name: share.organization ?? "",
    colour: colourOf(share.organization, colours),
    percent: percent([share]),
  }));
  return others.length > 0 ? [...found, { name: "All others", colour: REST_COLOUR, percent: percent(others) }] : found;
}

/** The areas one above the other: the upper edge of each, the uppermost first, as they are painted over each other. */
export function stacked(of: readonly Area[]): (number | null)[][] {
  const edges: (number | null)[][] = [];
  for (const { percent } of of) {
    const below = edges.at(-1);
    edges.push(percent.map((value, place) => (value === null ? null : value + (below?.[place] ?? 0))));
  }
  return edges.toReversed();
}

export function colourOf(organization: string | null, colours: Colours): string {
  return (organization !== null && colours.get(organization)) || REST_COLOUR;
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
