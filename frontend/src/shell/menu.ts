/** The menu's entries, in their order. Where one leads into an organization, the shell adds which. */
import type { Right } from "../api/queries";

export interface Entry {
  label: string;
  to: string;
  /** Only for those who may. */
  right?: Right;
  /** The key that goes there after "g". */
  key?: string;
}

/** The organization of jobs that belong to none. */
export const PLATFORM = ",platform";

export const ORGANIZATION_MENU: readonly Entry[] = [
  { label: "Overview", to: "/o/$organization", key: "o" },
  { label: "Jobs", to: "/o/$organization/jobs", key: "j" },
  { label: "Dead letters", to: "/o/$organization/dead-letters", key: "d" },
  { label: "Queues", to: "/o/$organization/queues", key: "q" },
  { label: "Job types", to: "/o/$organization/job-types", key: "t" },
  { label: "Schedules", to: "/o/$organization/schedules", key: "c" },
  { label: "Members", to: "/o/$organization/members", right: "members:read", key: "m" },
  { label: "API tokens", to: "/o/$organization/tokens", right: "tokens:change" },
  { label: "Audit", to: "/o/$organization/audit", right: "audit:read", key: "a" },
  { label: "Settings", to: "/o/$organization/settings", key: "s" },
];

export const OPERATOR_MENU: readonly Entry[] = [
  { label: "Overview", to: "/operator/overview", key: "v" },
  { label: "Organizations", to: "/operator", key: "o" },
  { label: "Fairness", to: "/operator/fairness", key: "f" },
  { label: "Dead letters", to: "/operator/dead-letters", key: "d" },
  { label: "Platform jobs", to: `/o/${PLATFORM}/jobs`, key: "p" },
  { label: "Workers", to: "/operator/workers", key: "w" },
  { label: "Queues", to: "/operator/queues", key: "q" },
  { label: "Job types", to: "/operator/job-types", key: "t" },
  { label: "Users", to: "/operator/users", key: "u" },
  { label: "Tokens", to: "/operator/tokens" },
  { label: "Audit", to: "/operator/audit", key: "a" },
  { label: "Settings", to: "/operator/settings", key: "s" },
];
