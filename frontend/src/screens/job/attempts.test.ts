import { describe, expect, it } from "vitest";
import { attemptsOf, causesOf, endOf, errorOf, firstLineOf, type LogEntry, waitedUntil } from "./attempts";

let sequence = 0;
function entry(
  from: LogEntry["from_status"],
  to: LogEntry["to_status"],
  attempt: number,
  more: Partial<LogEntry> = {},
): LogEntry {
  sequence += 1;
  const at = new Date(Date.UTC(2026, 10, 26, 10, 0, sequence)).toISOString();
  return {
    sequence,
    from_status: from,
    to_status: to,
    at,
    actor: "worker",
    message: "",
    attempt,
    error_type: null,
    traceback: null,
    ...more,
  };
}

describe("attempts", () => {
  it("of a job that failed, was let go and runs again", () => {
    const entries = [
      entry(null, "queued", 0),
      entry("queued", "running", 1, { actor: "worker one" }),
      entry("running", "failed", 1, { error_type: "ValueError", message: "no", traceback: "Traceback" }),
      entry("failed", "queued", 1),
      entry("queued", "running", 2),
      entry("running", "queued", 2, { message: "released at shutdown" }),
      entry("queued", "running", 3),
    ];
    const attempts = attemptsOf(entries);

    expect(attempts.map(({ number, outcome }) => [number, outcome])).toEqual([
      [1, "failed"],
      [2, "released"],
      [3, null],
    ]);
    expect(attempts[0]).toMatchObject({ worker: "worker one" });
    expect(errorOf(entries)).toMatchObject({ attempt: 1, error_type: "ValueError", traceback: "Traceback" });
    expect(attempts[2]?.endedAt).toBeNull();
  });

  it("of a job that was never claimed are none", () => {
    expect(attemptsOf([entry(null, "queued", 0), entry("queued", "canceled", 0)])).toEqual([]);
  });
});

describe("the job's error", () => {
  const raised = [
    entry("queued", "running", 2),
    entry("running", "failed", 2, { error_type: "TypeError", traceback: "Traceback" }),
    entry("failed", "queued", 2),
    entry("queued", "running", 3),
  ];
  const lost = entry("running", "queued", 3, { error_type: "WorkerLost" });

  it("stays that of the attempt that raised it, whatever became of the worker or the job since", () => {
    for (const later of [[lost], [lost, entry("queued", "running", 4)], [entry("running", "canceled", 3)]])
      expect(errorOf([...raised, ...later])).toBe(raised[1]);
    expect(errorOf([...raised, entry("running", "timed_out", 3), entry("timed_out", "dead_letter", 3)])).toMatchObject({
      to_status: "timed_out",
      attempt: 3,
    });
  });

  it("is that of the step which buried it, where no attempt had failed", () => {
    const poison = entry("running", "dead_letter", 4, { error_type: "WorkerLost" });
    const parent = entry("pending", "dead_letter", 3);

    expect(errorOf([...raised, lost, entry("queued", "running", 4), poison])).toBe(poison);
    expect(errorOf([...raised, parent])).toBe(parent);
    expect(errorOf([entry("queued", "running", 1), lost])).toBeUndefined();
  });
});

it("a job waited until its first attempt, however many it has had", () => {
  const queued = entry(null, "queued", 0);
  const first = entry("queued", "running", 1);
  const failed = [entry("running", "failed", 1), entry("failed", "queued", 1), entry("queued", "running", 2)];

  expect(waitedUntil(queued.at, [queued, first, ...failed])).toBe(first.at);
  expect(waitedUntil(queued.at, [queued])).toBeNull();
});

it("nobody says how long a job waited that is due anew, since when it was due first stands nowhere", () => {
  const entries = [entry(null, "queued", 0), entry("queued", "running", 1), entry("running", "dead_letter", 1)];
  const retried = entry("dead_letter", "queued", 1);

  expect(waitedUntil(retried.at, [...entries, retried, entry("queued", "running", 2)])).toBeNull();
});

describe("causes", () => {
  const chained = `Traceback (most recent call last):
  File "a.py", line 1, in f
    g()
KeyError: 'x'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "a.py", line 3, in f
    raise E from error
ValueError: no such
column`;

  it("begin with the error that was raised", () => {
    expect(causesOf(chained).map(({ headline, link }) => [headline, link])).toEqual([
      ["ValueError: no such\ncolumn", null],
      ["KeyError: 'x'", "caused"],
    ]);
  });

  it("of an error without any is itself", () => {
    expect(causesOf("ValueError: <b>no</b>")).toEqual([
      { headline: "ValueError: <b>no</b>", link: null, text: "ValueError: <b>no</b>" },
    ]);
    expect(causesOf("")).toEqual([]);
  });
});

describe("the end of a running job", () => {
  const start = "2026-11-26T10:00:00Z";
  const later = (seconds: number) => Date.parse(start) + seconds * 1000;
  /** A job that said so many seconds after its start how far it was. */
  const job = (progress: number | null, said = 30, more: Partial<Parameters<typeof endOf>[0]> = {}) => ({
    started_at: start,
    progress,
    progress_at: new Date(later(said)).toISOString(),
    timeout: null,
    cancel_requested_at: null,
    ...more,
  });

  it("follows from how far it came", () => {
    expect(endOf(job(25), later(30))).toEqual({ by: "itself", seconds: 90 });
  });

  it("comes nearer while it says nothing, and is no longer known when it is silent for too long", () => {
    expect(endOf(job(25), later(50))).toEqual({ by: "itself", seconds: 70 });
    expect(endOf(job(25), later(61))).toBeNull();
    expect(endOf(job(10, 600), later(899))).toMatchObject({ by: "itself" });
    expect(endOf(job(10, 600), later(901))).toBeNull();
    expect(endOf(job(90, 60), later(70))).toBeNull(); // it was to have ended by now
  });

  it("is its timeout where that comes first", () => {
    expect(endOf(job(31, 282, { timeout: 300 }), later(282))).toEqual({ by: "timeout", seconds: 18 });
    expect(endOf(job(31, 299, { timeout: 300 }), later(301))).toBeNull();
    expect(endOf(job(25, 30, { timeout: 300 }), later(30))).toEqual({ by: "itself", seconds: 90 });
  });

  it.each([
    ["without a start", job(50, 30, { started_at: null })],
    ["without progress", job(null)],
    ["that never said how far it is", job(50, 30, { progress_at: null })],
    ["at 0 percent", job(0)],
    ["at 100 percent", job(100)],
    ["after a second", job(50, 1)],
    ["whose progress is of the attempt before", job(50, -5)],
    ["that is asked to stop", job(50, 30, { cancel_requested_at: start })],
  ])("is not known of one %s", (_, one) => {
    expect(endOf(one, later(30))).toBeNull();
  });
});

it("tells what an attempt wrote first, however much of it is shown", () => {
  const line = (attempt: number, message: string) => ({ at: "2026-11-26T10:00:00Z", attempt, level: "info", message });
  const lines = [line(1, "a"), line(1, "b"), line(2, "c"), line(2, "d")];
  expect(firstLineOf(2, lines)?.message).toBe("c");
  expect(firstLineOf(3, lines)).toBeUndefined();
});
