import { afterEach, beforeEach, expect, it, vi } from "vitest";

// As in a browser: elsewhere nothing is asked again by itself.
vi.stubGlobal("window", {});
vi.stubGlobal("document", { baseURI: "http://127.0.0.1/" });
const { QueryClient, QueryObserver } = await import("@tanstack/react-query");
const { correct } = await import("../../live/effects");
const { untilNextLook } = await import("./looks");

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("one looks every 15 seconds, however often events change what is shown meanwhile", async () => {
  const queries = new QueryClient();
  const queryKey = ["organization", "acme", "jobs", {}];
  const asked: number[] = [];
  const start = Date.now();
  const observer = new QueryObserver<{ progress: number }>(queries, {
    queryKey,
    queryFn: () => {
      asked.push(Math.round((Date.now() - start) / 1000));
      return { progress: 0 };
    },
    refetchInterval: ({ state }) => untilNextLook(state),
    refetchIntervalInBackground: true,
  });
  const stop = observer.subscribe(() => {});
  for (let second = 1; second <= 40; second += 1) {
    await vi.advanceTimersByTimeAsync(1_000);
    const query = queries.getQueryCache().find<{ progress: number }>({ queryKey });
    if (query) correct(query, { progress: second });
  }
  stop();

  expect(asked).toEqual([0, 15, 30]);
});
