/** Where an operator does what a reason says that operators can. Pure. */

interface Help {
  to: string;
  label: string;
}

const ORGANIZATIONS: Help = { to: "/operator", label: "Organizations" };
const LIMITS: Help = { to: "/operator/job-types", label: "Limits" };
const BREAKERS: Help = { to: "/operator/job-types", label: "Circuit breakers" };

const HELP: Record<string, Help> = {
  organization_paused: ORGANIZATIONS,
  organization_suspended: ORGANIZATIONS,
  organization_max_running: ORGANIZATIONS,
  job_type_paused: { to: "/operator/job-types", label: "Job types" },
  queue_paused: { to: "/operator/queues", label: "Queues" },
  job_type_max_running: LIMITS,
  job_type_max_running_in_organization: LIMITS,
  job_type_execution_rate: LIMITS,
  job_type_execution_rate_in_organization: LIMITS,
  breaker_open: BREAKERS,
  breaker_trial: BREAKERS,
};
/** What the application alone changes, where it keeps the organizations itself. */
const THEIRS: ReadonlySet<string> = new Set(["organization_suspended", "organization_max_running"]);

/** The screen for a reason's code, if there is one. `isOurs`: Fairlane keeps the organizations. */
export function helpFor(code: string, isOurs: boolean): Help | undefined {
  return isOurs || !THEIRS.has(code) ? HELP[code] : undefined;
}
