/** How fresh what is shown is: one word for the header. Pure. */

export type Phase = "connecting" | "live" | "catching up" | "polling";

export type Signal =
  /** The connection is there, and its rooms are being asked for. */
  | "connected"
  /** All rooms have answered. */
  | "caught up"
  /** It went away, could not be made, is silent, or does not bring all that is watched. */
  | "lost"
  /** There has been none for a while. */
  | "waited";

const NEXT: Record<Phase, Partial<Record<Signal, Phase>>> = {
  connecting: { "caught up": "live", waited: "polling" },
  live: { lost: "catching up" },
  "catching up": { "caught up": "live", waited: "polling" },
  polling: { connected: "catching up", "caught up": "live" },
};

export function next(phase: Phase, signal: Signal): Phase {
  return NEXT[phase][signal] ?? phase;
}

/** How long the first questions wait for the events that keep their answers fresh, in milliseconds. */
export const FIRST = 200;
/** How long without a connection before one polls, in milliseconds. */
export const PATIENCE = 4_000;
/** How long without a heartbeat before one knows no more what happens, in milliseconds: three were due. */
export const SILENCE = 15_000;
/** How often one polls, in milliseconds. */
export const POLL = 5_000;
/** How long until one asks again for what was refused, in milliseconds: one may be let in some day. */
export const REFUSED = 60_000;

/** How long until one tries again what did not work, in milliseconds: longer each time, and not all at once. */
export function backoff(tries: number, chance = Math.random()): number {
  return Math.min(1_000 * 2 ** tries, 30_000) * (0.5 + chance / 2);
}
