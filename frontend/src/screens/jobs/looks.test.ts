import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Job } from "../../api/queries";

// As in a browser: elsewhere nothing is asked again by itself.
vi.stubGlobal("window", {});
vi.stubGlobal("document", { baseURI: "http://127.0.0.1/" });
const { QueryClient, QueryObserver } = await import("@tanstack/react-query");
const { correct } = await import("../../live/effects");
const { untilAskedToStop, untilNextLook } = await import("./looks");

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

it("one looks every 5 seconds at a job that runs, until it was asked to stop, though its progress is told", async () => {
  const queries = new QueryClient();
  const queryKey = ["organization", "acme", "job", "1"];
  const asked: number[] = [];
  const start = Date.now();
  const observer = new QueryObserver<Job>(queries, {
    queryKey,
    queryFn: () => {
      const second = Math.round((Date.now() - start) / 1000);
      asked.push(second);
      return { status: "running", cancel_requested_at: second < 9 ? null : "2026-11-26T10:00:09Z" } as Job;
    },
    refetchInterval: ({ state }) => untilAskedToStop(state),
    refetchIntervalInBackground: true,
  });
  const stop = observer.subscribe(() => {});
  for (let second = 1; second <= 40; second += 1) {
    await vi.advanceTimersByTimeAsync(1_000);
    const query = queries.getQueryCache().find<Job>({ queryKey });
    if (query?.state.data) correct(query, { ...query.state.data, progress: second });
  }
  stop();

  expect(asked).toEqual([0, 5, 10]);
});

it("of a job that does not run an event tells whatever comes next", () => {
  for (const status of ["pending", "queued", "completed"] as const) {
    const data = { status, cancel_requested_at: null } as Job;
    expect(untilAskedToStop({ data, dataUpdatedAt: 0, errorUpdatedAt: 0 })).toBe(false);
  }
});
