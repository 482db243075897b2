import { io, type Socket } from "socket.io-client";
import { api, ask, BASE } from "../api/client";
import { Problem } from "../api/problem";
import {
  arrive,
  EVENTS,
  type Event,
  isNews,
  keyOf,
  newPlace,
  type Place,
  type Subscribed,
  type Target,
} from "./events";
import { next, PATIENCE, type Phase, type Signal } from "./phase";

export interface Listener {
  onEvent: (event: Event) => void;
  /** One hears of it from now on: what was asked for before may lack what happened meanwhile. */
  onBegin?: () => void;
  /** All that is shown of the target has to be fetched anew. */
  onReset: () => void;
  /** One may no longer see it. */
  onRevoked?: () => void;
}

interface Watched {
  target: Target;
  place: Place;
  listeners: Set<Listener>;
}

/** One socket for the whole page: who watches what, catching up after it was away, and how fresh things are. */
export class LiveClient {
  #socket: Socket | null = null;
  #phase: Phase = "connecting";
  #heardAt = Date.now();
  #watched = new Map<string, Watched>();
  #observers = new Set<() => void>();
  #patience: ReturnType<typeof setTimeout> | undefined;

  /** Watch a target until the returned function is called. */
  watch(target: Target, listener: Listener): () => void {
    const key = keyOf(target);
    const watched = this.#watched.get(key) ?? { target, place: newPlace(), listeners: new Set() };
    const isFirst = watched.listeners.size === 0;
    watched.listeners.add(listener);
    this.#watched.set(key, watched);
    if (isFirst) {
      if (this.#socket?.connected) void this.#join([watched]);
      else this.open();
    }
    return () => {
      watched.listeners.delete(listener);
      if (watched.listeners.size > 0 || this.#watched.get(key) !== watched) return;
      this.#watched.delete(key);
      if (watched.place.room) this.#socket?.emit("unsubscribe", { room: watched.place.room });
    };
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** When something was heard of the server last, in milliseconds: an event, or an answer to a question. */
  get heardAt(): number {
    return this.#heardAt;
  }

  heard(): void {
    this.#heardAt = Date.now();
  }

  /** Whether all that happens to a target is heard, now or, where the connection is away, later. */
  hears(target: Target): boolean {
    return this.#watched.get(keyOf(target))?.place.cursor != null;
  }

  /** Be told when the phase changes, or what is heard. */
  observe = (observer: () => void): (() => void) => {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  };

  /** Leave: the session has ended. */
  close(): void {
    clearTimeout(this.#patience);
    this.#socket?.disconnect();
    this.#socket = null;
    this.#watched.clear();
    this.#set("connecting");
  }

  /** Connect, if nobody has yet; what is to be watched may be said later. */
  open(): void {
    if (this.#socket) return;
    const socket = io(BASE.origin, {
      path: new URL("api/v1/socket.io", BASE).pathname,
      transports: ["websocket", "polling"],
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      // A ticket is good once, so each connection gets its own.
      auth: (give) => {
        void ask(api.POST("/api/v1/socket-tickets")).then(
          ({ ticket }) => give({ ticket }),
          (error: unknown) => (error instanceof Problem && error.status === 401 ? this.close() : give({})),
        );
      },
    });
    this.#socket = socket;
    this.#waitForIt();
    socket.on("connect", () => this.#onConnect());
    socket.on("disconnect", () => this.#onLost());
    socket.on("connect_error", () => {
      this.#onLost();
      // Refused by the server, as a ticket was used up or too old: socket.io itself does not try again then.
      if (!socket.active) setTimeout(() => socket === this.#socket && socket.connect(), PATIENCE);
    });
    for (const name of EVENTS) socket.on(name, (told: object) => this.#onEvent({ ...told, name } as Event));
    socket.on("reset", ({ room, cursor }: { room: string; cursor: string }) => this.#onReset(room, cursor));
    socket.on("revoked", ({ room }: { room: string }) => this.#onRevoked(room));
  }

  #onConnect(): void {
    this.#signal("connected");
    if (this.#watched.size > 0) void this.#join([...this.#watched.values()]);
  }

  async #join(all: readonly Watched[]): Promise<void> {
    const socket = this.#socket;
    const answers = await Promise.allSettled(all.map((watched) => this.#subscribe(watched)));
    if (socket !== this.#socket || !socket?.connected) return;
    if (answers.every((answer) => answer.status === "fulfilled")) {
      clearTimeout(this.#patience);
      this.#patience = undefined;
      this.#signal("caught up");
    }
  }

  async #subscribe(watched: Watched): Promise<void> {
    const { target, place } = watched;
    const socket = this.#socket;
    if (!socket) return;
    const after = place.cursor !== null ? { after: place.cursor } : {};
    const answer = (await socket.timeout(10_000).emitWithAck("subscribe", { ...target, ...after })) as
      | Subscribed
      | { error: { status: number } };
    if ("error" in answer) {
      if (answer.error.status === 404 || answer.error.status === 403)
        for (const one of watched.listeners) one.onRevoked?.();
      throw new Error("not subscribed");
    }
    this.heard();
    const isFirst = place.cursor === null;
    if (arrive(place, answer)) for (const one of watched.listeners) isFirst ? one.onBegin?.() : one.onReset();
    if (isFirst) this.#tell();
  }

  #onEvent(event: Event): void {
    this.heard();
    for (const watched of this.#in(event.room)) {
      if (isNews(watched.place, event)) for (const listener of watched.listeners) listener.onEvent(event);
    }
  }

  #onReset(room: string, cursor: string): void {
    for (const watched of this.#in(room)) {
      arrive(watched.place, { room, cursor, snapshot: null, reset: true });
      for (const listener of watched.listeners) listener.onReset();
    }
  }

  #onRevoked(room: string): void {
    for (const watched of this.#in(room)) for (const listener of watched.listeners) listener.onRevoked?.();
  }

  /** Several may watch what the server calls one room. */
  #in(room: string): Watched[] {
    return [...this.#watched.values()].filter((watched) => watched.place.room === room);
  }

  #onLost(): void {
    this.#signal("lost");
    this.#waitForIt();
  }

  #waitForIt(): void {
    this.#patience ??= setTimeout(() => {
      this.#patience = undefined;
      this.#signal("waited");
    }, PATIENCE);
  }

  #signal(signal: Signal): void {
    this.#set(next(this.#phase, signal));
  }

  #set(phase: Phase): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    this.#tell();
  }

  #tell(): void {
    for (const observer of this.#observers) observer();
  }
}

export const live = new LiveClient();
