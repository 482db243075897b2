import type { Schema } from "../../api/client";
import { patiently } from "../../api/patience";

export interface Outcome {
  changed: number;
  refused: number;
  /** Why the first of them were refused. */
  refusals: string[];
}

type Send = (cursor: string | null) => Promise<Schema["BulkAnswer"]>;

/** Send again from where the request before came to, until all is done; `told` hears how far it is. */
export async function workOff(send: Send, told: (outcome: Outcome) => void, signal: AbortSignal): Promise<Outcome> {
  const outcome: Outcome = { changed: 0, refused: 0, refusals: [] };
  let cursor: string | null = null;
  do {
    const at = cursor;
    const answer: Schema["BulkAnswer"] = await patiently(() => send(at), signal);
    outcome.changed += answer.changed;
    outcome.refused += answer.refused;
    outcome.refusals = [
      ...new Set([...outcome.refusals, ...(answer.refusals ?? []).map(({ detail }) => detail)]),
    ].slice(0, 3);
    told({ ...outcome });
    cursor = answer.next_cursor ?? null;
  } while (cursor !== null && !signal.aborted);
  return outcome;
}
