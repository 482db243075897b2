/** When one looks again at what no event tells of. Pure. */

const EVERY = 15_000; // milliseconds

/** In milliseconds. Each event that changes a row begins the wait anew, so it is counted from the last answer. */
export function untilNextLook({ dataUpdatedAt, errorUpdatedAt }: { dataUpdatedAt: number; errorUpdatedAt: number }) {
  return Math.max(100, Math.max(dataUpdatedAt, errorUpdatedAt) + EVERY - Date.now());
}
