/** How far back, in the address. */
export const SPANS = [15, 60, 240, 1440] as const;
export const USUAL = 60;

export interface FairnessSearch {
  minutes?: number;
}

export function fairnessSearch({ minutes }: Record<string, unknown>): FairnessSearch {
  const found = SPANS.find((span) => String(span) === String(minutes));
  return found !== undefined && found !== USUAL ? { minutes: found } : {};
}
