import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

// The API's address is the page's, and here is none.
vi.stubGlobal("document", { baseURI: "http://127.0.0.1/" });
const { apply, begin, isKept, refresh, refreshAll, soon } = await import("./effects");

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("asks almost at once, and then no more often than it may", () => {
  const queries = new QueryClient();
  const asked: number[] = [];
  vi.spyOn(queries, "invalidateQueries").mockImplementation(() => {
    asked.push(Date.now() - start);
    return Promise.resolve();
  });
  const start = Date.now();
  for (let moment = 0; moment < 100; moment += 1) {
    soon(queries, ["organization", "acme", "jobs"], 5_000);
    vi.advanceTimersByTime(200);
  }

  expect(asked).toEqual([250, 5_250, 10_250, 15_250]);
});

it("shows a change of status and progress before it has asked", () => {
  const queries = new QueryClient();
  const job = { id: "a", status: "queued", attempt: 0, progress: null };
  const list = ["organization", "acme", "jobs", {}];
  queries.setQueryData(list, { items: [job, { ...job, id: "b" }] });
  const told = { room: "r", cursor: "c", organization: "acme", job_id: "a", at: "2026-11-26T10:00:00Z", attempt: 1 };
  const changed = { job_type: "t", queue: "q", sequence: 2, from_status: "queued", to_status: "running", user: null };
  apply(queries, { ...told, ...changed, name: "job_status_changed" });
  apply(queries, { ...told, name: "job_progress", percent: 40, message: "page 4" });

  expect(queries.getQueryData(list)).toEqual({
    items: [
      {
        id: "a",
        status: "running",
        attempt: 1,
        progress: 40,
        progress_message: "page 4",
        progress_at: told.at,
        started_at: told.at,
      },
      { ...job, id: "b" },
    ],
  });
  // What an earlier attempt still says is no news.
  apply(queries, { ...told, attempt: 0, name: "job_progress", percent: 90, message: null });
  expect(queries.getQueryData<{ items: { progress: number }[] }>(list)?.items[0]?.progress).toBe(40);
  // A job that waits for its next attempt has none.
  apply(queries, { ...told, ...changed, from_status: "failed", to_status: "queued", name: "job_status_changed" });
  expect(queries.getQueryData<{ items: unknown[] }>(list)?.items[0]).toMatchObject({
    status: "queued",
    progress: null,
  });
});

it("makes nothing that is shown look fresher than it is", () => {
  const queries = new QueryClient();
  const cache = queries.getQueryCache();
  const job = { id: "a", status: "running", attempt: 1, progress: null };
  const keys = { its: ["jobs", {}], other: ["jobs", { queue: "q" }], one: ["job", "a"] };
  const name = (key: unknown[]) => ["organization", "hooli", ...key];
  queries.setQueryData(name(keys.its), { items: [job] });
  queries.setQueryData(name(keys.other), { items: [{ ...job, id: "b" }] });
  queries.setQueryData(name(keys.one), job);
  const wrong = { error: new Error("away"), status: "error", isInvalidated: true, dataUpdatedAt: 7 } as const;
  for (const query of cache.findAll()) query.setState(wrong);
  const drawn: unknown[] = [];
  cache.subscribe((event) => {
    if (event.type === "updated") drawn.push(event.query.queryKey);
  });
  const told = { room: "r", cursor: "c", organization: "hooli", job_id: "a", at: "2026-11-26T10:00:00Z", attempt: 1 };
  apply(queries, { ...told, name: "job_progress", percent: 40, message: null });

  expect(cache.findAll().map(({ state }) => state)).toEqual(cache.findAll().map(() => expect.objectContaining(wrong)));
  expect(queries.getQueryData(name(keys.its))).toMatchObject({ items: [{ progress: 40 }] });
  expect(queries.getQueryData(name(keys.one))).toMatchObject({ progress: 40 });
  // A list without the job is left alone, and so are all where there is no news.
  apply(queries, { ...told, attempt: 0, name: "job_progress", percent: 90, message: null });
  expect(drawn).toEqual([name(keys.one), name(keys.its)]);
});

it("asks for no list whose statuses a change does not touch", () => {
  const queries = new QueryClient();
  const all = ["organization", "globex", "jobs", {}];
  const running = ["organization", "globex", "jobs", { status: ["running"] }];
  const dead = ["organization", "globex", "jobs", { status: ["dead_letter"] }];
  for (const key of [all, running, dead]) queries.setQueryData(key, { items: [] });
  const told = { room: "r", cursor: "c", organization: "globex", job_id: "a", at: "2026-11-26T10:00:00Z", attempt: 1 };
  const changed = { job_type: "t", queue: "q", sequence: 2, from_status: "queued", to_status: "running", user: null };
  apply(queries, { ...told, ...changed, name: "job_status_changed" });
  vi.advanceTimersByTime(250);

  expect([all, running, dead].map((key) => queries.getQueryState(key)?.isInvalidated)).toEqual([true, true, false]);
});

it("asks no more often when events are missed again and again, and for no more than they tell of", () => {
  const queries = new QueryClient();
  const list = ["organization", "initech", "jobs", { status: ["running"] }];
  queries.setQueryData(list, { items: [] });
  const asked: string[] = [];
  vi.spyOn(queries, "invalidateQueries").mockImplementation((filters) => {
    asked.push(filters?.queryKey?.[2] as string);
    return Promise.resolve();
  });
  for (let looks = 0; looks < 1_200; looks += 1) {
    refresh(queries, "initech");
    refreshAll(queries);
    vi.advanceTimersByTime(50);
  }

  const often = (part: string | undefined) => asked.filter((one) => one === part).length;
  expect({ jobs: often("jobs"), counts: often("job-counts"), job: often("job") }).toEqual({
    jobs: 12,
    counts: 12,
    job: 12,
  });
  expect({ metrics: often("metrics"), timeline: often("timeline"), all: often(undefined) }).toEqual({
    metrics: 6,
    timeline: 3,
    all: 3,
  });
  expect(new Set(asked).has("job-types")).toBe(false);
});

it("asks anew, once, for all that was asked for before events came", () => {
  const queries = new QueryClient();
  const asked: unknown[] = [];
  vi.spyOn(queries, "invalidateQueries").mockImplementation((filters) => {
    asked.push(filters?.queryKey?.[2]);
    return Promise.resolve();
  });
  begin(queries, "acme");

  expect(asked.toSorted()).toEqual(
    ["audit", "dead-letters", "graph", "job", "job-counts", "jobs", "metrics", "queues", "timeline"].toSorted(),
  );
});

it("knows which answers events keep fresh", () => {
  const keys = [
    ["jobs", {}],
    ["job", "a"],
    ["job", "a", "history"],
    ["metrics"],
    ["job", "a", "explanation"],
    ["members"],
  ];

  expect(keys.map((key) => isKept(["organization", "acme", ...key]))).toEqual([true, true, true, true, false, false]);
  expect(isKept(["operator", "organizations"])).toBe(false);
});
