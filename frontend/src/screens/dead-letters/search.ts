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
  /** Of the group; without it those of all types that have its error. */
  job_type?: string;
  cursor?: string;
}

export function lettersSearch(search: Record<string, unknown>): LettersSearch {
  const decided = DECIDED.find(([name]) => name === search.decided)?.[0];
  return {
    ...(decided && decided !== "pending" && { decided }),
    ...(typeof search.job_type === "string" && { job_type: search.job_type }),
    ...(typeof search.cursor === "string" && { cursor: search.cursor }),
  };
}
