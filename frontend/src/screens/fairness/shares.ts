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

export interface Area {
  name: string;
  colour: string;
  /** Percent of the workers' time, by minute; null: nothing was used. */
  percent: (number | null)[];
}

/** What an organization has at work and in line; null: it is one of those that are told of together. */
export function standingOf({ shares, rest }: Shares, organization: string): Share["now"] | null {
  const own = shares.find((share) => share.organization === organization);
  return own?.now ?? (rest === null ? { running: 0, ready: 0, ready_is_capped: false, waiting_seconds: null } : null);
}

/** Each organization's part of the time that attempts took, by the minute in which they ended. */
export function areas({ minutes, shares, rest }: Pick<Shares, "minutes" | "shares" | "rest">): Area[] {
  const shown = shares.slice(0, COLOURS.length);
  const others = [...shares.slice(COLOURS.length), ...(rest ? [rest] : [])];
  const all = [...shares, ...(rest ? [rest] : [])];
  const totals = minutes.map((_, place) => sum(all.map(({ seconds }) => seconds[place] ?? 0)));
  const percent = (some: readonly Share[]) =>
    totals.map((total, place) =>
      total > 0 ? (100 * sum(some.map(({ seconds }) => seconds[place] ?? 0))) / total : null,
    );
  const found = shown.map((share, place) => ({
    name: share.organization ?? "",
    colour: COLOURS[place] ?? REST_COLOUR,
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

export function colourOf(place: number): string {
  return COLOURS[place] ?? REST_COLOUR;
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
