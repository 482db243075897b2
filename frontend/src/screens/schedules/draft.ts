/** A schedule as it is written into the form, and what is sent of it. Pure. */

import type { Schema } from "../../api/client";
import { written } from "../../api/json";
import { parsed } from "../submit/parsed";
import { inUnit, secondsOf, type Unit } from "./ticks";

export type Schedule = Schema["Schedule"];
export type Missed = Schema["Missed"];

export interface Draft {
  name: string;
  jobType: string;
  by: "cron" | "every";
  cron: string;
  amount: string;
  unit: Unit;
  timeZone: string;
  missed: Missed;
  user: string;
  /** JSON. */
  parameters: string;
  priority: Schema["Priority"] | "";
  queue: string;
}

const SHORTEST = 1; // seconds
const LONGEST = 366 * 86_400;

/** What the form begins with. `zone` is the reader's. */
export function draftOf(schedule: Schedule | null, zone: string): Draft {
  const [amount, unit] = schedule?.every != null ? inUnit(schedule.every) : ["1", "hours" as const];
  return {
    name: schedule?.name ?? "",
    jobType: schedule?.job_type ?? "",
    by: schedule?.every != null ? "every" : "cron",
    cron: schedule?.cron ?? "",
    amount: String(amount),
    unit,
    timeZone: schedule?.time_zone ?? zone,
    missed: schedule?.missed ?? "one",
    user: schedule?.user ?? "",
    parameters: shownParameters(schedule),
    priority: schedule?.priority ?? "",
    queue: schedule?.queue ?? "",
  };
}

/** What is wrong with it as far as one can see here; the server says the rest. */
export function wrongs(
  draft: Draft,
  schedule: Schedule | null,
): Partial<Record<"name" | "amount" | "parameters", string>> {
  const found: ReturnType<typeof wrongs> = {};
  const name = draft.name.trim();
  if (name.includes("/") || name === "." || name === "..") found.name = "No slash, and neither “.” nor “..”.";
  const seconds = secondsOf(Number(draft.amount), draft.unit);
  if (draft.by === "every" && !(seconds >= SHORTEST && seconds <= LONGEST)) found.amount = "From a second to a year.";
  if (!keepsParameters(draft, schedule) && !parsed(draft.parameters)) found.parameters = "This is not a JSON object.";
  return found;
}

export function isComplete({ name, jobType, by, cron, timeZone }: Draft): boolean {
  return [name, jobType, timeZone, by === "cron" ? cron : "every"].every((text) => text.trim() !== "");
}

/** What is sent: all that it is to be, so what the form does not show goes with it as it was. */
export function bodyOf(draft: Draft, schedule: Schedule | null): Schema["NewSchedule"] {
  const isCron = draft.by === "cron";
  const goesOn = schedule !== null && isCron === (schedule.cron !== null);
  const parameters = keepsParameters(draft, schedule) ? undefined : parsed(draft.parameters);
  return {
    job_type: draft.jobType,
    ...(isCron ? { cron: draft.cron.trim() } : { every: secondsOf(Number(draft.amount), draft.unit) }),
    time_zone: draft.timeZone.trim(),
    ...(goesOn && { start: schedule.start }),
    missed: draft.missed,
    user: draft.user.trim() || null,
    ...(parameters && { parameters }),
    priority: draft.priority || null,
    queue: draft.queue.trim() || null,
    labels: schedule?.labels ?? {},
  };
}

/** Whether it keeps the parameters that it has: nobody touched them, or nobody who may not see them wrote others. Another
 * type is given none that are not sent. */
function keepsParameters({ parameters, jobType }: Draft, schedule: Schedule | null): boolean {
  if (schedule === null) return false;
  return parameters.trim() === "" || (parameters === shownParameters(schedule) && jobType === schedule.job_type);
}

function shownParameters(schedule: Schedule | null): string {
  return schedule?.payload_hidden ? "" : written(schedule?.parameters ?? {}, true);
}
