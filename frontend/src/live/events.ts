/** What the server says over the socket, and what of it is news. Pure. */

/** What to watch. */
export type Target = { organization: string; job?: string } | { operator: true };

interface Told {
  room: string;
  cursor: string;
}

export interface StatusChanged extends Told {
  name: "job_status_changed";
  organization: string;
  job_id: string;
  job_type: string;
  queue: string;
  /** Counts per job. */
  sequence: number;
  from_status: string | null;
  to_status: string;
  at: string;
  attempt: number;
  user: string | null;
}

export interface Progressed extends Told {
  name: "job_progress";
  organization: string;
  job_id: string;
  attempt: number;
  percent: number | null;
  message: string | null;
  at: string;
}

export interface DeadLetterAlert extends Told {
  name: "dead_letter_alert";
  organization: string;
  depth: number;
  threshold: number;
  at: string;
}

export interface QueueLimitWarning extends Told {
  name: "queue_limit_warning";
  organization: string;
  live: number;
  limit: number;
  at: string;
}

export type Event = StatusChanged | Progressed | DeadLetterAlert | QueueLimitWarning;

export const EVENTS = ["job_status_changed", "job_progress", "dead_letter_alert", "queue_limit_warning"] as const;

/** The server's answer to `subscribe`. */
export interface Subscribed {
  room: string;
  cursor: string;
  snapshot: unknown;
  /** What was missed can't be told: fetch anew. */
  reset: boolean;
}

/** Or its answer where one is not let in; empty: the connection is gone already. */
export interface Refused {
  error?: { status: number };
}

/** How far one has heard what happens in a room. */
export interface Place {
  room: string | null;
  cursor: string | null;
  /** Of each job the last sequence and when it last progressed. */
  sequences: Map<string, number>;
  progress: Map<string, string>;
}

/** More jobs than that are forgotten, oldest first: what is told of them twice does no harm. */
const REMEMBERED = 5_000;

export function newPlace(): Place {
  return { room: null, cursor: null, sequences: new Map(), progress: new Map() };
}

/** Note an event; whether it is news. What was heard already, or is older than what was heard, is not. */
export function isNews(place: Place, event: Event): boolean {
  place.cursor = event.cursor;
  if (event.name === "job_status_changed") {
    const last = place.sequences.get(event.job_id);
    if (last !== undefined && event.sequence <= last) return false;
    remember(place.sequences, event.job_id, event.sequence);
  }
  if (event.name === "job_progress") {
    const last = place.progress.get(event.job_id);
    const moment = `${String(event.attempt).padStart(9, "0")} ${event.at}`;
    if (last !== undefined && moment < last) return false;
    remember(place.progress, event.job_id, moment);
  }
  return true;
}

function remember<T>(known: Map<string, T>, job: string, value: T) {
  known.delete(job);
  known.set(job, value);
  if (known.size > REMEMBERED) {
    for (const oldest of known.keys()) {
      known.delete(oldest);
      break;
    }
  }
}

/** Note the answer to `subscribe`; whether all that is shown has to be fetched anew. */
export function arrive(place: Place, answer: Subscribed): boolean {
  const isAnew = answer.reset || place.cursor === null;
  if (isAnew) {
    place.sequences.clear();
    place.progress.clear();
  }
  // With missed events on their way it is the one before them: each brings its own.
  place.cursor = answer.cursor;
  place.room = answer.room;
  return isAnew;
}

/** The same target gives the same key. */
export function keyOf(target: Target): string {
  return "operator" in target ? "operator" : JSON.stringify([target.organization, target.job ?? null]);
}
