import "./styles.css";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createRouter, RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BASE } from "./api/client";
import { patience } from "./api/patience";
import { isUnanswered, Problem, retries, retryDelay } from "./api/problem";
import { live } from "./live/client";
import { isKept } from "./live/effects";
import { routeTree } from "./routes";
import { parseSearch, stringifySearch } from "./search";
import { applyAppearance } from "./settings";
import { ErrorState, Skeleton } from "./ui";

applyAppearance();

/** Whoever's session has ended logs in again, and comes back to where they were. */
function onError(error: unknown): void {
  if (!(error instanceof Problem) || error.status !== 401) return;
  live.close();
  queries.clear();
  if (!router.state.location.pathname.startsWith("/login"))
    void router.navigate({ to: "/login", search: { next: router.state.location.href } });
}

/** Whether an answer needs no question, as events say when it is old. */
function isFresh({ queryKey }: { queryKey: readonly unknown[] }): boolean {
  return live.phase === "live" && isKept(queryKey);
}

const queries = new QueryClient({
  queryCache: new QueryCache({ onError, onSuccess: () => live.heard() }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    queries: {
      retry: retries,
      retryDelay,
      staleTime: (query) => (isFresh(query) ? 30_000 : 2_000),
      refetchOnWindowFocus: (query) => !isFresh(query),
      refetchIntervalInBackground: false,
    },
    mutations: { retry: false },
  },
});

queries.getQueryCache().subscribe((event) => {
  if (event.type !== "updated" || event.action.type !== "failed") return;
  patience.note(event.action.error);
  if (isUnanswered(event.action.error)) live.missed();
});

const router = createRouter({
  routeTree,
  basepath: BASE.pathname,
  context: { queries },
  parseSearch,
  stringifySearch,
  defaultPendingComponent: () => <Skeleton rows={6} />,
  defaultErrorComponent: ({ error, reset }) => <ErrorState error={error} onRetry={() => again(reset)} />,
  scrollRestoration: true,
});

/** Show a screen anew that could not be shown; who one is may be what could not be asked for. */
function again(reset: () => void): void {
  reset();
  void router.invalidate();
}

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
