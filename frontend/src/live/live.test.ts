import { describe, expect, it } from "vitest";
import { arrive, type Event, isNews, keyOf, newPlace } from "./events";
import { backoff, next, type Phase, type Signal } from "./phase";

function status(job: string, sequence: number, cursor = `c${sequence}`): Event {
  return {
    name: "job_status_changed",
    room: "org:acme",
    cursor,
    organization: "acme",
    job_id: job,
    job_type: "report",
    queue: "default",
    sequence,
    from_status: "queued",
    to_status: "running",
    at: "2026-11-26T10:00:00Z",
    attempt: 1,
    user: "ana",
  };
}

function progress(attempt: number, at: string): Event {
  return {
    name: "job_progress",
    room: "r",
    cursor: "c",
    organization: "acme",
    job_id: "a",
    attempt,
    percent: 5,
    message: null,
    at,
  };
}

describe("news", () => {
  it("is told once, job by job", () => {
    const place = newPlace();
    const told = [status("a", 1), status("b", 1), status("a", 2), status("a", 2), status("a", 1), status("b", 2)];

    expect(told.map((event) => isNews(place, event))).toEqual([true, true, true, false, false, true]);
  });

  it("moves the cursor even where it is old news", () => {
    const place = newPlace();
    isNews(place, status("a", 2, "c7"));
    isNews(place, status("a", 1, "c8"));

    expect(place.cursor).toBe("c8");
  });

  it("of progress never goes back, not even to an earlier attempt", () => {
    const place = newPlace();
    const told = [
      progress(1, "2026-11-26T10:00:02Z"),
      progress(1, "2026-11-26T10:00:01Z"),
      progress(2, "2026-11-26T10:00:03Z"),
      progress(1, "2026-11-26T10:00:09Z"),
    ];

    expect(told.map((event) => isNews(place, event))).toEqual([true, false, true, false]);
  });

  it("is remembered of a bounded number of jobs", () => {
    const place = newPlace();
    for (let job = 0; job < 6_000; job += 1) isNews(place, status(`job ${job}`, 1));

    expect(place.sequences.size).toBe(5_000);
    expect(isNews(place, status("job 5999", 1))).toBe(false);
  });
});

describe("arriving in a room", () => {
  it("for the first time, everything is fetched", () => {
    const place = newPlace();

    expect(arrive(place, { room: "org:acme", cursor: "c5", snapshot: {}, reset: false })).toBe(true);
    expect(place.cursor).toBe("c5");
  });

  it("again, the missed events are enough, and the cursor goes on though there are none", () => {
    const place = newPlace();
    arrive(place, { room: "org:acme", cursor: "c5", snapshot: {}, reset: false });
    isNews(place, status("a", 3, "c6"));

    expect(arrive(place, { room: "org:acme", cursor: "c6", snapshot: null, reset: false })).toBe(false);
    expect(isNews(place, status("a", 3, "c6"))).toBe(false);
    expect(isNews(place, status("a", 4, "c9"))).toBe(true);
    expect(arrive(place, { room: "org:acme", cursor: "c700", snapshot: null, reset: false })).toBe(false);
    expect(place.cursor).toBe("c700");
  });

  it("after too long, everything is fetched, and sequences begin anew", () => {
    const place = newPlace();
    arrive(place, { room: "org:acme", cursor: "c5", snapshot: {}, reset: false });
    isNews(place, status("a", 3, "c6"));

    expect(arrive(place, { room: "org:acme", cursor: "c900", snapshot: {}, reset: true })).toBe(true);
    expect(place.cursor).toBe("c900");
    expect(isNews(place, status("a", 2, "c901"))).toBe(true);
  });
});

describe("targets", () => {
  it("are told apart whatever their organization is called", () => {
    const keys = [
      { operator: true as const },
      { organization: "operator" },
      { organization: "a", job: "b" },
      { organization: '["a","b"]' },
    ];

    expect(new Set(keys.map(keyOf)).size).toBe(4);
  });
});

describe("phases", () => {
  it.each<[Signal[], Phase]>([
    [["connected", "caught up"], "live"],
    [["connected", "caught up", "lost"], "catching up"],
    [["connected", "caught up", "lost", "connected", "caught up"], "live"],
    [["connected", "caught up", "lost", "waited"], "polling"],
    [["waited"], "polling"],
    [["waited", "lost"], "polling"],
    [["waited", "connected"], "catching up"],
    [["connected", "caught up", "waited"], "live"],
  ])("after %j it is %s", (signals, phase) => {
    expect(signals.reduce<Phase>(next, "connecting")).toBe(phase);
  });
});

describe("the wait until one tries again", () => {
  it("is longer each time, up to a bound, and not the same for all", () => {
    expect([0, 1, 2, 9].map((tries) => backoff(tries, 1))).toEqual([1_000, 2_000, 4_000, 30_000]);
    expect([0, 1, 2, 9].map((tries) => backoff(tries, 0))).toEqual([500, 1_000, 2_000, 15_000]);
  });
});
