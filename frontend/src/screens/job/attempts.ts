/** From a job's log to its attempts, from an error to its causes, from progress to the time that is left. Pure. */
import type { Schema } from "../../api/client";
import type { Job } from "../../api/queries";

export type LogEntry = Schema["LogEntry"];
type LogLine = Schema["LogLine"];

export interface Attempt {
  number: number;
  startedAt: string | null;
  endedAt: string | null;
  /** What it came to; null: it runs. */
  outcome: LogEntry["to_status"] | "released" | null;
  worker: string | null;
  message: string;
}

/** The attempts of a job, oldest first; each begins where it was claimed and ends with the next step. */
export function attemptsOf(entries: readonly LogEntry[]): Attempt[] {
  const attempts: Attempt[] = [];
  let open: Attempt | null = null;
  for (const entry of entries) {
    if (entry.to_status === "running") {
      open = {
        number: entry.attempt,
        startedAt: entry.at,
        endedAt: null,
        outcome: null,
        worker: entry.actor,
        message: "",
      };
      attempts.push(open);
    } else if (open && entry.from_status === "running") {
      open.endedAt = entry.at;
      // Back in the queue without an outcome: its worker was lost or let it go, or it snoozed.
      open.outcome = entry.to_status === "queued" ? "released" : entry.to_status;
      open.message = entry.message;
      open = null;
    }
  }
  return attempts;
}

/**
 * The step that left the job's error, or rather the last that could have. That its worker was lost, or that it was
 * canceled, does not take the place of the error that was there before.
 */
export function errorOf(entries: readonly LogEntry[]): LogEntry | undefined {
  return entries.findLast(
    ({ from_status, to_status }) => isFailed(to_status) || (to_status === "dead_letter" && !isFailed(from_status)),
  );
}

function isFailed(status: LogEntry["from_status"]): boolean {
  return status === "failed" || status === "timed_out";
}

/** What an attempt wrote first. */
export function firstLineOf(attempt: number, lines: readonly LogLine[]): LogLine | undefined {
  return lines.find((line) => line.attempt === attempt);
}

/**
 * When its first attempt began, until when it only waited. Null: it has had none, or `due` is that of a later attempt,
 * since a retry moves it.
 */
export function waitedUntil(due: string, entries: readonly LogEntry[]): string | null {
  const first = entries.find(({ to_status }) => to_status === "running");
  return first && Date.parse(due) <= Date.parse(first.at) ? first.at : null;
}

export interface Cause {
  /** Its last line: the error's type and what it says. */
  headline: string;
  /** How it came to the one that follows; null: it is the one that was raised. */
  link: "caused" | "met while handling" | null;
  text: string;
}

const LINKS: Record<string, "caused" | "met while handling"> = {
  "The above exception was the direct cause of the following exception:": "caused",
  "During handling of the above exception, another exception occurred:": "met while handling",
};

/** An error and its causes, from a traceback as Python writes it; the one that was raised comes first. */
export function causesOf(traceback: string): Cause[] {
  const causes: Cause[] = [];
  let lines: string[] = [];
  const close = (link: Cause["link"]) => {
    const text = lines.join("\n").trim();
    if (text) causes.push({ headline: headline(text), link, text });
    lines = [];
  };
  for (const line of traceback.split("\n")) {
    const link = LINKS[line.trim()];
    if (link) close(link);
    else lines.push(line);
  }
  close(null);
  return causes.reverse();
}

function headline(text: string): string {
  const lines = text.split("\n");
  // What an error says may have several lines; it begins at the last one that is not indented after the stack.
  const last = lines.findLastIndex((line) => line.startsWith("  "));
  return (
    lines
      .slice(last + 1)
      .join("\n")
      .trim() ||
    lines.at(-1) ||
    text
  );
}

type Going = Pick<Job, "started_at" | "progress" | "progress_at" | "timeout" | "cancel_requested_at">;

/** What ends a running job, and in how many seconds, if it goes on as it went; null: nobody can tell. */
export function endOf(job: Going, now: number): { by: "itself" | "timeout"; seconds: number } | null {
  const { started_at, progress, progress_at, timeout } = job;
  if (started_at === null || progress_at === null || job.cancel_requested_at !== null) return null;
  if (progress === null || progress <= 0 || progress >= 100) return null;
  const start = new Date(started_at).getTime();
  const ran = (new Date(progress_at).getTime() - start) / 1000; // to come so far
  const silent = (now - start) / 1000 - ran;
  // The first seconds say too little, and so does what was said long ago.
  if (ran < 2 || progress < 1 || silent > Math.max(30, ran / 2)) return null;
  const seconds = (ran / progress) * (100 - progress) - silent;
  const allowed = timeout === null ? Number.POSITIVE_INFINITY : timeout - ran - silent;
  if (seconds > allowed) return allowed > 0 ? { by: "timeout", seconds: allowed } : null;
  return seconds > 0 ? { by: "itself", seconds } : null;
}
