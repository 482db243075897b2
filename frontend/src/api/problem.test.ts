import { describe, expect, it } from "vitest";
import { isUnanswered, Problem, problemOf, retries, retryDelay, UNREACHABLE } from "./problem";

describe("what an answer tells of", () => {
  it("is its sentence, its kind and how long to wait", () => {
    const response = new Response(null, { status: 429, headers: { "Retry-After": "7" } });
    const problem = problemOf(response, {
      type: "urn:fairlane:problem:queue-full",
      detail: "The queue is full.",
      limit: 5,
    });

    expect(problem.detail).toBe("The queue is full.");
    expect(problem.type).toBe("urn:fairlane:problem:queue-full");
    expect(problem.retryAfter).toBe(7);
    expect(problem.more.limit).toBe(5);
  });

  it("is a sentence even where a proxy answered with a page", () => {
    const problem = problemOf(new Response(null, { status: 502 }), "<html>");

    expect(problem.detail).toBe("The server answered with 502; try again.");
    expect(problem.retryAfter).toBeNull();
  });
});

describe("no answer", () => {
  const answer = (status: number, body: unknown) => problemOf(new Response(null, { status }), body);

  it("is also what a proxy says in the server's place", () => {
    expect(isUnanswered(UNREACHABLE)).toBe(true);
    for (const status of [502, 503, 504]) expect(isUnanswered(answer(status, "<html>"))).toBe(true);
  });

  it("is none that the server gave", () => {
    expect(isUnanswered(answer(503, { type: "urn:fairlane:problem:too-slow", detail: "Too slow." }))).toBe(false);
    for (const status of [404, 429, 500]) expect(isUnanswered(answer(status, "<html>"))).toBe(false);
    expect(isUnanswered(new Error())).toBe(false);
  });
});

describe("trying again", () => {
  it("is done while it may help, and no more than three times", () => {
    const away = new Problem(503, "", "");

    expect([0, 1, 2, 3].map((failures) => retries(failures, away))).toEqual([true, true, true, false]);
    expect(retries(0, new Problem(404, "", ""))).toBe(false);
    expect(retries(0, new TypeError())).toBe(false);
  });

  it("goes on for ever where one only has to wait one's turn", () => {
    expect(retries(99, new Problem(429, "urn:fairlane:problem:too-many-requests", "", 7))).toBe(true);
  });

  it("waits as long as the server says", () => {
    expect(retryDelay(0, new Problem(429, "urn:fairlane:problem:too-many-requests", "", 7))).toBe(7000);
    expect([0, 1, 9].map((failures) => retryDelay(failures, new Problem(503, "", "")))).toEqual([1000, 2000, 15_000]);
  });
});
