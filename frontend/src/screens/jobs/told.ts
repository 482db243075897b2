/** What people are told of bulk actions. Pure. */
import type { Schema } from "../../api/client";
import { count, plural, words } from "../../ui/format";

export type BulkAction = Schema["BulkAction"];

/** So many reasons of refusals are told. */
export const TOLD = 3;

const WORDS = {
  cancel: { doing: "Canceling jobs", done: "canceled or asked to stop" },
  retry: { doing: "Retrying dead letters", done: "queued again" },
  delete: { doing: "Deleting dead letters", done: "deleted" },
} as const;

export function isWorking({ state }: Pick<BulkAction, "state">): boolean {
  return state === "working";
}

/** What is being done, with which jobs, and who began it. */
export function titleOf({ action, filter, user }: BulkAction): string {
  const about = Object.entries(filter)
    .filter(([name, value]) => value !== null && name !== "user")
    .map(([name, value]) => `${words(name)} ${shownAs(value)}`);
  const of = filter.user !== undefined && filter.user !== user ? [`user ${filter.user}`] : [];
  const which = [...about, ...of];
  return [
    WORDS[action].doing,
    which.length > 0 ? ` (${which.join(", ")})` : "",
    user === null ? "" : `, begun by ${user}`,
  ].join("");
}

/** How far it has come, in a sentence. */
export function told(one: BulkAction): string {
  const { action, state, changed, passed_over, stopped_by, problem } = one;
  const { done } = WORDS[action];
  const passed = passed_over > 0 ? `, ${count(passed_over)} passed over` : "";
  if (state === "working") return `${titleOf(one)}: ${count(changed)} ${done} so far${passed}.`;
  if (state === "done") return `${plural(changed, "job")} ${done}${passed}.`;
  const why = problem === null ? "" : `, as ${problem}`;
  return `Stopped by ${stopped_by}${why}: ${plural(changed, "job")} ${done} before${passed}.`;
}

/** Why some were passed over, as far as anybody knows; null where none were. */
export function whyPassedOver({ action, passed_over }: Pick<BulkAction, "action" | "passed_over">): string | null {
  if (passed_over === 0) return null;
  const gone = "Passed over: jobs that were deleted, changed or decided about meanwhile";
  return action === "retry" ? `${gone}, and what follows its parent when that is retried.` : `${gone}.`;
}

/** Why the first were refused, each reason once. */
export function reasons(refusals: readonly { detail: string }[]): string[] {
  return [...new Set(refusals.map(({ detail }) => detail))].slice(0, TOLD);
}

function shownAs(value: unknown): string {
  if (Array.isArray(value)) return value.map(String).join(" or ");
  if (typeof value === "object" && value !== null)
    return Object.entries(value)
      .map(([name, one]) => `${name}=${one}`)
      .join(", ");
  return String(value);
}
