/** How long a paced retry takes. Pure. */

export const PACES = [0.1, 1, 10, 100, 1000] as const;

/** In seconds, from the first that becomes ready to the last. */
export function lasts(jobs: number, perSecond: number): number {
  return jobs > 0 ? (jobs - 1) / perSecond : 0;
}

/** The pace that was typed; null: it is none that the server takes. */
export function paceOf(text: string): number | null {
  const pace = Number(text);
  return text.trim() !== "" && pace >= 0.001 && pace <= 100_000 ? pace : null;
}
