/** Rights as people read them. Pure. */
import type { Right } from "../../api/queries";

export const RIGHT_NAMES: Record<Right, string> = {
  "jobs:read": "look at jobs",
  "metrics:read": "look at numbers, of no single job",
  "jobs:submit": "submit jobs",
  "jobs:change": "change and cancel jobs, care for dead letters",
  "jobs:delete": "delete jobs that have ended, dead letters among them",
  "payload:read": "see parameters, errors and results",
  "schedules:change": "change schedules",
  "members:read": "look at members",
  "members:change": "change members",
  "organization:change": "change the organization",
  "tokens:change": "make and revoke tokens",
  "audit:read": "read the audit",
};

/** What operators may everywhere; what they may beyond it, the server knows. */
export const OPERATOR_RIGHTS: readonly Right[] = (Object.keys(RIGHT_NAMES) as Right[]).filter(
  (right) => right !== "jobs:submit" && right !== "payload:read",
);

/** How long a token is good for, in days; null: for ever. */
export const LIVES: readonly (readonly [days: number | null, label: string])[] = [
  [7, "7 days"],
  [30, "30 days"],
  [90, "90 days"],
  [365, "1 year"],
  [null, "For ever"],
];

export type TokenState = "active" | "expired" | "revoked";

export function stateOf(
  { revoked_at, expires_at }: { revoked_at: string | null; expires_at: string | null },
  now: number,
): TokenState {
  if (revoked_at !== null) return "revoked";
  return expires_at !== null && new Date(expires_at).getTime() <= now ? "expired" : "active";
}
