/** All addresses of the dashboard. A screen is one route here and, where it belongs into the menu, one line in shell/menu.ts. */
import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, lazyRouteComponent, redirect } from "@tanstack/react-router";
import { Problem } from "./api/problem";
import { meQuery } from "./api/queries";
import { jobsSearch } from "./screens/jobs/filter";
import { loginSearch } from "./screens/login/search";
import { NotFound } from "./shell/NotFound";
import { Root } from "./shell/Root";
import { InOperator, InOrganization } from "./shell/Shell";

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
  beforeLoad: requireLogin,
  component: InOrganization,
});
const overview = createRoute({
  getParentRoute: () => organization,
  path: "/",
  component: lazyRouteComponent(() => import("./screens/overview/Overview"), "Overview"),
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

// What concerns all organizations.
const operator = createRoute({
  getParentRoute: () => root,
  path: "operator",
  beforeLoad: requireLogin,
  component: InOperator,
});
const operatorOrganizations = createRoute({
  getParentRoute: () => operator,
  path: "/",
  component: lazyRouteComponent(() => import("./screens/organizations/Organizations"), "Organizations"),
});

export const routeTree = root.addChildren([
  start,
  login,
  organization.addChildren([overview, jobs, job]),
  operator.addChildren([operatorOrganizations]),
]);
