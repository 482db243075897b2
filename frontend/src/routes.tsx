/** All addresses of the dashboard. A screen is one route here and, where it belongs into the menu, one line in shell/menu.ts. */
import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, lazyRouteComponent, redirect } from "@tanstack/react-router";
import { Problem } from "./api/problem";
import { meQuery } from "./api/queries";
import { live } from "./live/client";
import { auditSearch } from "./screens/audit/search";
import { lettersSearch } from "./screens/dead-letters/search";
import { jobsSearch } from "./screens/jobs/filter";
import { loginSearch } from "./screens/login/search";
import { organizationsSearch } from "./screens/organizations/search";
import { pageSearch } from "./search";
import { NotFound } from "./shell/NotFound";
import { Root } from "./shell/Root";
import { InOperator, InOrganization } from "./shell/Shell";
import { spanSearch } from "./span";

const root = createRootRouteWithContext<{ queries: QueryClient }>()({ component: Root, notFoundComponent: NotFound });

/** Nobody sees a screen before they have said who they are. */
async function requireLogin({ context, location }: { context: { queries: QueryClient }; location: { href: string } }) {
  try {
    return { me: await context.queries.ensureQueryData(meQuery) };
  } catch (error) {
    if (error instanceof Problem && error.status === 401)
      throw redirect({ to: "/login", search: { next: location.href } });
    throw error;
  }
}

/** Where screens are live: the connection is made while one asks who somebody is. */
function enter(given: Parameters<typeof requireLogin>[0]) {
  live.open();
  return requireLogin(given);
}

const start = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: requireLogin,
  component: lazyRouteComponent(() => import("./screens/start/Start"), "Start"),
});
const login = createRoute({
  getParentRoute: () => root,
  path: "login",
  validateSearch: loginSearch,
  component: lazyRouteComponent(() => import("./screens/login/Login"), "Login"),
});

// What belongs to one organization.
const organization = createRoute({
  getParentRoute: () => root,
  path: "o/$organization",
  beforeLoad: enter,
  component: InOrganization,
});
const overview = createRoute({
  getParentRoute: () => organization,
  path: "/",
  component: lazyRouteComponent(() => import("./screens/overview"), "Overview"),
});
const jobs = createRoute({
  getParentRoute: () => organization,
  path: "jobs",
  validateSearch: jobsSearch,
  component: lazyRouteComponent(() => import("./screens/jobs/Jobs"), "Jobs"),
});
const job = createRoute({
  getParentRoute: () => organization,
  path: "jobs/$job",
  component: lazyRouteComponent(() => import("./screens/job/JobPage"), "JobPage"),
});
const jobGraph = createRoute({
  getParentRoute: () => organization,
  path: "jobs/$job/graph",
  component: lazyRouteComponent(() => import("./screens/graph/GraphPage"), "GraphPage"),
});
const deadLetters = createRoute({
  getParentRoute: () => organization,
  path: "dead-letters",
  validateSearch: lettersSearch,
  component: lazyRouteComponent(() => import("./screens/dead-letters/DeadLetters"), "DeadLetters"),
});
const deadLetterGroup = createRoute({
  getParentRoute: () => organization,
  path: "dead-letters/$fingerprint",
  validateSearch: lettersSearch,
  component: lazyRouteComponent(() => import("./screens/dead-letters/DeadLetterGroup"), "DeadLetterGroup"),
});
const queues = createRoute({
  getParentRoute: () => organization,
  path: "queues",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/queues/Queues"), "Queues"),
});
const jobTypes = createRoute({
  getParentRoute: () => organization,
  path: "job-types",
  validateSearch: spanSearch,
  component: lazyRouteComponent(() => import("./screens/job-types/JobTypes"), "JobTypes"),
});
const schedules = createRoute({
  getParentRoute: () => organization,
  path: "schedules",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/schedules/Schedules"), "Schedules"),
});
const members = createRoute({
  getParentRoute: () => organization,
  path: "members",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/members/Members"), "Members"),
});
const tokens = createRoute({
  getParentRoute: () => organization,
  path: "tokens",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/tokens/Tokens"), "Tokens"),
});
const audit = createRoute({
  getParentRoute: () => organization,
  path: "audit",
  validateSearch: auditSearch,
  component: lazyRouteComponent(() => import("./screens/audit/Audit"), "Audit"),
});
const settings = createRoute({
  getParentRoute: () => organization,
  path: "settings",
  component: lazyRouteComponent(() => import("./screens/settings/Settings"), "Settings"),
});

// What concerns all organizations.
const operator = createRoute({
  getParentRoute: () => root,
  path: "operator",
  beforeLoad: enter,
  component: InOperator,
});
const operatorOrganizations = createRoute({
  getParentRoute: () => operator,
  path: "/",
  validateSearch: organizationsSearch,
  component: lazyRouteComponent(() => import("./screens/organizations/Organizations"), "Organizations"),
});
const operatorOverview = createRoute({
  getParentRoute: () => operator,
  path: "overview",
  component: lazyRouteComponent(() => import("./screens/overview"), "OperatorOverview"),
});
const fairness = createRoute({
  getParentRoute: () => operator,
  path: "fairness",
  validateSearch: spanSearch,
  component: lazyRouteComponent(() => import("./screens/fairness/Fairness"), "Fairness"),
});
const operatorDeadLetters = createRoute({
  getParentRoute: () => operator,
  path: "dead-letters",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/dead-letters/OperatorDeadLetters"), "OperatorDeadLetters"),
});
const operatorQueues = createRoute({
  getParentRoute: () => operator,
  path: "queues",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/queues/OperatorQueues"), "OperatorQueues"),
});
const operatorJobTypes = createRoute({
  getParentRoute: () => operator,
  path: "job-types",
  validateSearch: spanSearch,
  component: lazyRouteComponent(() => import("./screens/job-types/OperatorJobTypes"), "OperatorJobTypes"),
});
const workers = createRoute({
  getParentRoute: () => operator,
  path: "workers",
  component: lazyRouteComponent(() => import("./screens/workers/Workers"), "Workers"),
});
const users = createRoute({
  getParentRoute: () => operator,
  path: "users",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/users/Users"), "Users"),
});
const operatorTokens = createRoute({
  getParentRoute: () => operator,
  path: "tokens",
  validateSearch: pageSearch,
  component: lazyRouteComponent(() => import("./screens/tokens/OperatorTokens"), "OperatorTokens"),
});
const operatorAudit = createRoute({
  getParentRoute: () => operator,
  path: "audit",
  validateSearch: auditSearch,
  component: lazyRouteComponent(() => import("./screens/audit/OperatorAudit"), "OperatorAudit"),
});
const operatorSettings = createRoute({
  getParentRoute: () => operator,
  path: "settings",
  component: lazyRouteComponent(() => import("./screens/settings/OperatorSettings"), "OperatorSettings"),
});

export const routeTree = root.addChildren([
  start,
  login,
  organization.addChildren([
    overview,
    jobs,
    job,
    jobGraph,
    deadLetters,
    deadLetterGroup,
    queues,
    jobTypes,
    schedules,
    members,
    tokens,
    audit,
    settings,
  ]),
  operator.addChildren([
    operatorOrganizations,
    operatorOverview,
    fairness,
    operatorDeadLetters,
    operatorQueues,
    operatorJobTypes,
    workers,
    users,
    operatorTokens,
    operatorAudit,
    operatorSettings,
  ]),
]);
