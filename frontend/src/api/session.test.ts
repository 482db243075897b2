import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { inSession } from "./session";

const ENDED = { "WWW-Authenticate": 'Bearer realm="fairlane", error="invalid_token"' };
const NOBODY = { "WWW-Authenticate": 'Bearer realm="fairlane"' };

const answers: Response[] = [];
const bodies: string[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  bodies.length = 0;
  vi.stubGlobal("fetch", async (request: Request) => {
    request.signal.throwIfAborted();
    bodies.push(await request.text());
    return answers.shift() ?? Response.error();
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function send(statuses: number[], signal: AbortSignal | null = null, headers = ENDED): Promise<number> {
  const told = statuses.map((status) => new Response(null, status === 401 ? { status, headers } : { status }));
  answers.splice(0, answers.length, ...told);
  const request = new Request("http://127.0.0.1/", { method: "POST", body: "body", signal });
  const answer = inSession(request);
  answer.catch(() => {});
  await vi.runAllTimersAsync();
  return (await answer).status;
}

describe("a request that meets the server with a session that has ended", () => {
  it("is sent once more, whole, and answered where there is a new one", async () => {
    expect(await send([401, 200])).toBe(200);
    expect(bodies).toEqual(["body", "body"]);
  });

  it("is sent no third time", async () => {
    expect(await send([401, 401, 200])).toBe(401);
    expect(bodies).toHaveLength(2);
  });

  it("is not sent once nobody waits for it any more", async () => {
    const leave = new AbortController();
    setTimeout(() => leave.abort(), 1);

    await expect(send([401, 200], leave.signal)).rejects.toThrow("abort");
    expect(bodies).toHaveLength(1);
  });

  it("is another one than a guess at a password, which is counted, or one without a session", async () => {
    for (const headers of [{}, NOBODY] as (typeof ENDED)[]) expect(await send([401, 200], null, headers)).toBe(401);
    expect(bodies).toHaveLength(2);
  });

  it.each([200, 403, 503])("is not sent again where the answer is %i", async (status) => {
    expect(await send([status, 201])).toBe(status);
  });
});
