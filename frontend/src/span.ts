/** How far back a screen looks, in the address. */
export const SPANS = [15, 60, 240, 1440] as const; // minutes
export const USUAL = 60;

export interface SpanSearch {
  minutes?: number;
}

export function spanSearch({ minutes }: Record<string, unknown>): SpanSearch {
  const found = SPANS.find((span) => String(span) === String(minutes));
  return found !== undefined && found !== USUAL ? { minutes: found } : {};
}
