/** Which dead letters, in the address. Pure. */

export type Decided = "pending" | "retried" | "resolved" | "ignored" | "any";

export const DECIDED: readonly (readonly [Decided, string])[] = [
  ["pending", "Open"],
  ["resolved", "Resolved"],
  ["ignored", "Ignored"],
  ["retried", "Retried"],
  ["any", "All"],
];

/** The view in the address: which ones, and from where on. */
export interface LettersSearch {
  decided?: Decided;
  cursor?: string;
}

export function lettersSearch(search: Record<string, unknown>): LettersSearch {
  const decided = DECIDED.find(([name]) => name === search.decided)?.[0];
  return {
    ...(decided && decided !== "pending" && { decided }),
    ...(typeof search.cursor === "string" && { cursor: search.cursor }),
  };
}

/** Of all organizations': from where on. */
export function allLettersSearch({ cursor }: Record<string, unknown>): Pick<LettersSearch, "cursor"> {
  return typeof cursor === "string" ? { cursor } : {};
}
