/** When one looks again at what no event tells of. Pure. */

import type { Job } from "../../api/queries";
import { POLL } from "../../live/phase";

const EVERY = 15_000; // milliseconds

interface Looked {
  dataUpdatedAt: number;
  errorUpdatedAt: number;
}

/** In milliseconds. Each event that changes a row begins the wait anew, so it is counted from the last answer. */
export function untilNextLook({ dataUpdatedAt, errorUpdatedAt }: Looked, every = EVERY): number {
  return Math.max(100, Math.max(dataUpdatedAt, errorUpdatedAt) + every - Date.now());
}

/** The same for one job: that a running one was asked to stop no event tells. False: what comes next one does. */
export function untilAskedToStop(looked: Looked & { data: Job | undefined }): number | false {
  return looked.data?.status === "running" && !looked.data.cancel_requested_at && untilNextLook(looked, POLL);
}
