import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PATIENCE, REFUSED, SILENCE } from "./phase";

type Ack = { room: string; cursor: string; snapshot: null; reset: boolean } | { error: { status: number } };
interface Asked {
  wanted: Record<string, unknown>;
  answer: (ack: Ack) => void;
}

/** A socket of socket.io-client, as far as a client sees it; a test is the server. */
class FakeSocket {
  connected = false;
  active = true;
  readonly asked: Asked[] = [];
  readonly emitted: unknown[][] = [];
  readonly auths: unknown[] = [];
  /** Another one for each connection. */
  readonly io = { engine: {} };
  #heard = new Map<string, (told?: unknown) => void>();
  #pending = new Set<(error: Error) => void>();

  constructor(readonly auth: (give: (auth: unknown) => void) => void) {
    this.connect();
  }

  connect(): void {
    this.active = true;
    this.io.engine = {};
    // As the library does when a connection is there: later.
    queueMicrotask(() => this.auth((auth) => this.auths.push(auth)));
  }

  on(name: string, hear: (told?: unknown) => void): void {
    this.#heard.set(name, hear);
  }

  off(): this {
    this.#heard.clear();
    return this;
  }

  disconnect(): void {
    this.active = false;
    this.#end();
  }

  emit(...said: unknown[]): void {
    this.emitted.push(said);
  }

  timeout(wait: number) {
    return {
      emitWithAck: (_name: string, wanted: Record<string, unknown>) =>
        new Promise<Ack>((resolve, reject) => {
          setTimeout(() => reject(new Error("operation has timed out")), wait);
          this.#pending.add(reject);
          this.asked.push({ wanted, answer: resolve });
        }),
    };
  }

  tell(name: string, told: object = {}): void {
    this.#heard.get(name)?.(told);
  }

  accept(): void {
    this.connected = true;
    this.tell("connect");
  }

  /** The server does not take the ticket, or closes the socket: the library gives up then. */
  refuse(): void {
    this.active = false;
    this.tell("connect_error");
  }

  close(): void {
    this.active = false;
    this.#end();
  }

  /** The line is cut: the library comes back by itself, which is for the test to do. */
  cut(): void {
    this.#end();
  }

  #end(): void {
    if (!this.connected) return;
    this.connected = false;
    this.tell("disconnect");
    for (const reject of this.#pending) reject(new Error("socket has been disconnected"));
    this.#pending.clear();
  }
}

const sockets: FakeSocket[] = [];
vi.mock("socket.io-client", () => ({
  io: (_url: string, { auth }: { auth: FakeSocket["auth"] }) => {
    const made = new FakeSocket(auth);
    sockets.push(made);
    return made;
  },
}));
// The API's address is the page's, and here is neither.
vi.stubGlobal("document", { baseURI: "http://127.0.0.1/" });
const server = vi.fn<() => Promise<Response>>();
vi.stubGlobal("fetch", server);
const { LiveClient } = await import("./client");

const ACME = { organization: "acme" };
const GLOBEX = { organization: "globex" };
let live: InstanceType<typeof LiveClient>;
let tickets: number;
let hour = 0;

beforeEach(() => {
  // Each begins when what the one before was told to wait for is over.
  hour += 3_600_000;
  vi.useFakeTimers({ now: hour });
  vi.spyOn(Math, "random").mockReturnValue(1);
  sockets.length = tickets = 0;
  live = new LiveClient();
  server.mockImplementation(async () => {
    tickets += 1;
    return Response.json({ ticket: `ticket ${tickets}` }, { status: 201 });
  });
});
afterEach(() => {
  live.close();
  vi.useRealTimers();
});

const pass = (milliseconds = 0) => vi.advanceTimersByTimeAsync(milliseconds);
const ear = () => ({ onEvent: vi.fn(), onBegin: vi.fn(), onReset: vi.fn(), onAccess: vi.fn() });

/** Watch, and the socket that was made for it. */
async function watch(...targets: { organization: string }[]) {
  const listeners = targets.map((target) => {
    const listener = ear();
    return Object.assign(listener, { stop: live.watch(target, listener) });
  });
  await pass();
  const socket = sockets.at(-1);
  if (!socket) throw new Error("there is no socket");
  return { socket, listeners, listener: listeners[0] as (typeof listeners)[number] };
}

async function letIn(asked: Asked | undefined, more: Partial<Extract<Ack, { room: string }>> = {}) {
  const { organization } = asked?.wanted ?? {};
  asked?.answer({ room: `org:${organization}`, cursor: `${organization} 1`, snapshot: null, reset: false, ...more });
  await pass();
}

/** Watch acme, and be let in. */
async function hearing() {
  const watched = await watch(ACME);
  watched.socket.accept();
  await letIn(watched.socket.asked[0]);
  return watched;
}

const step = (sequence: number) => ({
  room: "org:acme",
  cursor: `acme ${sequence}`,
  organization: "acme",
  job_id: "a",
  sequence,
});

describe("coming back", () => {
  it("takes a new ticket for each connection, and goes on after what was heard last", async () => {
    const { socket, listener } = await hearing();
    expect(socket.asked.map(({ wanted }) => wanted)).toEqual([ACME]);
    expect(listener.onBegin).toHaveBeenCalledOnce();
    socket.tell("job_status_changed", step(7));
    socket.cut();
    expect(live.phase).toBe("catching up");
    socket.connect();
    await pass();
    socket.accept();

    expect(socket.auths).toEqual([{ ticket: "ticket 1" }, { ticket: "ticket 2" }]);
    expect(socket.asked[1]?.wanted).toEqual({ ...ACME, after: "acme 7" });
    await letIn(socket.asked[1], { cursor: "acme 9" });
    socket.tell("job_status_changed", step(7));
    socket.tell("job_status_changed", step(8));
    expect(listener.onEvent).toHaveBeenCalledTimes(2);
    expect([listener.onBegin, listener.onReset].map((told) => told.mock.calls.length)).toEqual([1, 0]);
    expect(live.phase).toBe("live");
  });

  it("shows no ticket to the connection after the one that it was asked for", async () => {
    let late: (answer: Response) => void = () => {};
    server.mockImplementationOnce(() => new Promise((answer) => (late = answer)));
    const { socket } = await watch(ACME);
    socket.connect(); // the line was cut before the ticket came
    await pass();
    late(Response.json({ ticket: "late" }, { status: 201 }));
    await pass();

    expect(socket.auths).toEqual([{ ticket: "ticket 1" }]);
  });

  it("connects again where the server has closed the socket", async () => {
    const { socket } = await hearing();
    socket.close();
    await pass(1_000);

    expect(socket.auths).toEqual([{ ticket: "ticket 1" }, { ticket: "ticket 2" }]);
    socket.accept();
    expect(socket.asked[1]?.wanted).toEqual({ ...ACME, after: "acme 1" });
    await letIn(socket.asked[1]);
    expect(live.phase).toBe("live");
  });

  it("connects again where it was refused, each time later and with another ticket, and polls meanwhile", async () => {
    const { socket } = await watch(ACME);
    const waits: number[] = [];
    for (let refusals = 0; refusals < 8; refusals += 1) {
      const before = Date.now();
      const connections = socket.auths.length;
      socket.refuse();
      while (socket.auths.length === connections) await pass(100);
      waits.push(Date.now() - before);
    }

    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(new Set(socket.auths.map((auth) => JSON.stringify(auth))).size).toBe(9);
    expect(live.phase).toBe("polling");
  });

  it("does not ask for a ticket before the server wants to be asked", async () => {
    server.mockImplementation(async () => {
      tickets += 1;
      const body = { type: "urn:fairlane:problem:too-many-requests", status: 429, detail: "Too many." };
      return Response.json(body, { status: 429, headers: { "Retry-After": "20" } });
    });
    const { socket } = await watch(ACME);
    socket.refuse();
    await pass(19_000);
    expect(tickets).toBe(1);
    await pass(2_000);
    expect(tickets).toBe(2);
  });

  it("ends where the session has", async () => {
    const { socket, listener } = await hearing();
    server.mockImplementation(async () => Response.json({ type: "urn:fairlane:problem:x" }, { status: 401 }));
    socket.close();
    await pass(60_000);

    expect(socket.auths).toHaveLength(1);
    expect(socket.active).toBe(false);
    socket.tell("job_status_changed", step(2));
    expect(listener.onEvent).not.toHaveBeenCalled();
  });

  it("does not where it was closed on purpose", async () => {
    const { socket } = await hearing();
    live.close();
    await pass(60_000);

    expect(socket.auths).toHaveLength(1);
    expect(live.phase).toBe("connecting");
  });
});

describe("entering rooms", () => {
  it.each([503, 429])("is tried again after a %i, until it works", async (status) => {
    const { socket } = await watch(ACME);
    socket.accept();
    socket.asked[0]?.answer({ error: { status } });
    await pass(1_000);
    expect(socket.asked).toHaveLength(2);
    expect(live.phase).not.toBe("live");
    await letIn(socket.asked[1]);
    expect(live.phase).toBe("live");
  });

  it("is tried again where there is no answer", async () => {
    const { socket } = await watch(ACME);
    socket.accept();
    await pass(11_000);
    expect(socket.asked).toHaveLength(2);
    expect(live.phase).toBe("polling");
    await letIn(socket.asked[1]);
    expect(live.phase).toBe("live");
  });

  it("is not asked for twice at a time, nor by whoever is in", async () => {
    const { socket } = await hearing();
    await watch(GLOBEX);
    await watch({ organization: "initech" });
    expect(socket.asked.map(({ wanted }) => wanted.organization)).toEqual(["acme", "globex", "initech"]);
  });

  it("is live only while one is in all of them", async () => {
    const { socket, listeners } = await watch(ACME, GLOBEX);
    socket.accept();
    socket.asked[0]?.answer({ error: { status: 503 } });
    await letIn(socket.asked[1]);
    expect(live.phase).not.toBe("live");
    await watch({ organization: "initech" });
    // The first was asked for again with the third.
    for (const asked of socket.asked.slice(2)) if (asked.wanted.organization === "initech") await letIn(asked);
    expect(live.phase).not.toBe("live");
    listeners[0]?.stop();
    expect(live.phase).toBe("live");
    await watch({ organization: "umbrella" });
    expect(live.phase).toBe("catching up");
    await pass(PATIENCE);
    expect(live.phase).toBe("polling");
  });

  it("is taken back where nobody watches any more when the answer comes", async () => {
    const { socket, listener } = await watch(ACME);
    socket.accept();
    listener.stop();
    await letIn(socket.asked[0]);
    expect(socket.emitted).toEqual([["unsubscribe", { room: "org:acme" }]]);
  });
});

describe("a connection that brings nothing", () => {
  it("is live only while it says that all was told", async () => {
    const { socket, listener } = await hearing();
    for (let beats = 0; beats < 5; beats += 1) {
      await pass(SILENCE - 1);
      socket.tell("heartbeat");
    }
    expect(live.phase).toBe("live");
    expect(live.heardAt).toBe(Date.now());
    await pass(SILENCE);
    expect(live.phase).toBe("catching up");
    await pass(PATIENCE);
    expect(live.phase).toBe("polling");

    socket.tell("job_status_changed", step(2));
    expect(live.phase).toBe("polling");
    socket.tell("heartbeat");
    expect(live.phase).toBe("live");
    expect(listener.onEvent).toHaveBeenCalledOnce();
    expect(listener.onReset).not.toHaveBeenCalled();
  });

  it("is not live because it lets one into another room", async () => {
    const { socket } = await hearing();
    await pass(SILENCE);
    await watch(GLOBEX);
    await letIn(socket.asked[1]);
    expect(live.phase).toBe("catching up");
    socket.tell("heartbeat");
    expect(live.phase).toBe("live");
  });

  it("is as new once it was made again", async () => {
    const { socket } = await hearing();
    await pass(SILENCE);
    socket.cut();
    await pass(SILENCE);
    socket.accept();
    await letIn(socket.asked[1]);
    expect(live.phase).toBe("live");
    await pass(SILENCE - 1);
    expect(live.phase).toBe("live");
  });

  it("does not hold up what is tried again", async () => {
    const { socket } = await watch(ACME, GLOBEX);
    socket.accept();
    await letIn(socket.asked[0]);
    socket.asked[1]?.answer({ error: { status: 403 } });
    for (let beats = 0; beats < REFUSED / 5_000; beats += 1) {
      await pass(5_000);
      socket.tell("heartbeat");
    }
    expect(socket.asked).toHaveLength(3);
  });
});

describe("what can't be told", () => {
  it("is fetched anew, and what comes then is news whatever its sequence", async () => {
    const { socket, listener } = await hearing();
    socket.tell("job_status_changed", step(7));
    socket.tell("reset", { room: "org:acme", cursor: "acme 900" });
    expect(listener.onReset).toHaveBeenCalledOnce();
    socket.tell("job_status_changed", step(3));
    expect(listener.onEvent).toHaveBeenCalledTimes(2);
    socket.tell("reset", { room: "org:globex", cursor: "globex 900" });
    expect(listener.onReset).toHaveBeenCalledOnce();
  });

  it("is fetched anew where one was away for too long", async () => {
    const { socket, listener } = await hearing();
    socket.cut();
    socket.connect();
    await pass();
    socket.accept();
    await letIn(socket.asked[1], { reset: true, cursor: "acme 900" });
    expect(listener.onReset).toHaveBeenCalledOnce();
    expect(listener.onBegin).toHaveBeenCalledOnce();
  });
});

describe("an answer that is not heard in time", () => {
  it("may have said that all is to be fetched anew, so the next one is taken to say it", async () => {
    const { socket, listener } = await hearing();
    socket.cut();
    socket.connect();
    await pass();
    socket.accept();
    await pass(10_000);
    socket.tell("job_status_changed", step(900));
    await pass(1_000);
    expect(socket.asked[2]?.wanted).toEqual({ ...ACME, after: "acme 900" });
    await letIn(socket.asked[2], { cursor: "acme 900" });
    expect(listener.onReset).toHaveBeenCalledOnce();

    socket.cut();
    socket.connect();
    await pass();
    socket.accept();
    await letIn(socket.asked[3]);
    expect(listener.onReset).toHaveBeenCalledOnce();
  });

  it("said nothing where the connection went away before it", async () => {
    const { socket, listener } = await hearing();
    for (let times = 1; times <= 2; times += 1) {
      socket.cut();
      socket.connect();
      await pass();
      socket.accept();
      await pass();
    }
    await letIn(socket.asked[2]);
    expect(listener.onReset).not.toHaveBeenCalled();
  });
});

describe("what one may not see any more", () => {
  it("is asked for again now and then, while the rest goes on", async () => {
    const { socket, listener } = await hearing();
    socket.tell("revoked", { room: "org:acme" });
    socket.close();
    expect(listener.onAccess).toHaveBeenCalledOnce();
    await pass(1_000);
    socket.accept();
    socket.asked[1]?.answer({ error: { status: 404 } });
    await pass();
    expect(listener.onAccess).toHaveBeenCalledOnce();
    await pass(PATIENCE);
    expect(live.phase).toBe("polling");

    listener.stop();
    await watch(GLOBEX);
    await letIn(socket.asked[2]);
    expect(live.phase).toBe("live");
  });

  it("says so once, and again when one is let in", async () => {
    const { socket, listener } = await watch(ACME);
    socket.accept();
    for (let refusals = 1; refusals <= 3; refusals += 1) {
      socket.asked.at(-1)?.answer({ error: { status: 403 } });
      await pass(REFUSED - 1);
      expect(socket.asked).toHaveLength(refusals);
      await pass(1);
      expect(socket.asked).toHaveLength(refusals + 1);
    }
    expect(listener.onAccess).toHaveBeenCalledOnce();
    await letIn(socket.asked.at(-1));
    expect(listener.onAccess).toHaveBeenCalledTimes(2);
    expect(live.phase).toBe("live");
  });
});
