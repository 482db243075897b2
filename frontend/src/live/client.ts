import { io, type Socket } from "socket.io-client";
import { api, ask, BASE } from "../api/client";
import { patience } from "../api/patience";
import { Problem } from "../api/problem";
import {
  arrive,
  EVENTS,
  type Event,
  isNews,
  keyOf,
  newPlace,
  type Place,
  type Refused,
  type Subscribed,
  type Target,
} from "./events";
import { backoff, next, PATIENCE, type Phase, REFUSED, SILENCE, type Signal } from "./phase";

export interface Listener {
  onEvent: (event: Event) => void;
  /** One hears of it from now on: what was asked for before may lack what happened meanwhile. */
  onBegin?: () => void;
  /** All that is shown of the target has to be fetched anew. */
  onReset: () => void;
  /** One may no longer see it, or may again. */
  onAccess?: () => void;
}

interface Watched {
  target: Target;
  place: Place;
  listeners: Set<Listener>;
  /** Whether one is in its room. */
  standing: "outside" | "asking" | "inside" | "refused";
  /** An answer came too late to be heard. It may have said "reset", and events behind it move the cursor. */
  mayLack: boolean;
}

/** How long the server may take to let one into a room, in milliseconds. */
const ANSWER = 10_000;

/** One socket for the whole page: who watches what, catching up after it was away, and how fresh things are. */
export class LiveClient {
  #socket: Socket | null = null;
  #phase: Phase = "connecting";
  #heardAt = Date.now();
  #isUnanswered = false;
  #watched = new Map<string, Watched>();
  #observers = new Set<() => void>();
  #patience: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  /** Whether heartbeats are missing: the connection is there, and does not bring what happens. */
  #isSilent = false;
  /** How often something did not work since all did. */
  #failures = 0;

  /** Watch a target until the returned function is called. */
  watch(target: Target, listener: Listener): () => void {
    const key = keyOf(target);
    const known = this.#watched.get(key);
    const watched: Watched = known ?? {
      target,
      place: newPlace(),
      listeners: new Set(),
      standing: "outside",
      mayLack: false,
    };
    watched.listeners.add(listener);
    if (!known) {
      this.#watched.set(key, watched);
      if (this.#socket) void this.#join();
      else this.open();
    }
    return () => {
      watched.listeners.delete(listener);
      if (watched.listeners.size > 0 || this.#watched.get(key) !== watched) return;
      this.#watched.delete(key);
      if (watched.standing === "inside") this.#leave(watched);
      this.#settle();
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
    this.#isUnanswered = false;
  }

  /** Whether the last question that ended got no answer, and nothing was heard since. */
  get isUnanswered(): boolean {
    return this.#isUnanswered;
  }

  /** A question got no answer. */
  missed(): void {
    this.#isUnanswered = true;
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
    clearTimeout(this.#retry);
    this.#stopAwaiting();
    this.#patience = this.#retry = undefined;
    this.#failures = 0;
    // What this socket still says is no news.
    this.#socket?.off().disconnect();
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
      // Else a proxy that passes no websockets on would keep one from ever trying the second.
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      // A ticket is good once, so each connection gets its own.
      auth: (give) => {
        const { engine } = socket.io;
        void ask(api.POST("/api/v1/socket-tickets")).then(
          ({ ticket }) => {
            // One that comes late would be shown by the connection after its own, which then shows two and is refused.
            if (socket.io.engine === engine) give({ ticket });
          },
          (error: unknown) => {
            if (socket !== this.#socket) return;
            if (error instanceof Problem && error.status === 401) return this.close();
            patience.note(error);
            if (socket.io.engine === engine) give({}); // and be refused
          },
        );
      },
    });
    this.#socket = socket;
    this.#fallBehind();
    socket.on("connect", () => this.#onConnect());
    socket.on("disconnect", () => this.#onLost());
    socket.on("connect_error", () => this.#onLost());
    for (const name of EVENTS) socket.on(name, (told: object) => this.#onEvent({ ...told, name } as Event));
    socket.on("reset", ({ room, cursor }: { room: string; cursor: string }) => this.#onReset(room, cursor));
    socket.on("heartbeat", () => this.#onHeartbeat());
    socket.on("revoked", ({ room }: { room: string }) => this.#onRevoked(room));
  }

  #onConnect(): void {
    this.#signal("connected");
    void this.#join();
  }

  #onLost(): void {
    this.#stopAwaiting();
    for (const watched of this.#watched.values()) if (watched.standing !== "refused") watched.standing = "outside";
    this.#fallBehind();
    // Where the server has closed it, or did not take the ticket, socket.io itself does not try again.
    if (this.#socket?.active === false) this.#tryAgain(backoff(this.#failures++));
  }

  /** Ask to be let into the rooms that one is not in. */
  async #join(): Promise<void> {
    const socket = this.#socket;
    if (!socket?.connected) return;
    const missing = this.#missing().filter(({ standing }) => standing !== "asking");
    if (missing.length > 0) this.#fallBehind();
    await Promise.all(missing.map((watched) => this.#enter(socket, watched)));
    if (socket === this.#socket && socket.connected) this.#settle();
  }

  async #enter(socket: Socket, watched: Watched): Promise<void> {
    const { target, place, listeners } = watched;
    const wasRefused = watched.standing === "refused";
    watched.standing = "asking";
    const after = place.cursor !== null ? { after: place.cursor } : {};
    const answer: Subscribed | Refused | null = await socket
      .timeout(ANSWER)
      .emitWithAck("subscribe", { ...target, ...after })
      .catch(() => null);
    if (answer === null || !("room" in answer)) {
      const status = answer?.error?.status;
      const isRefused = status === 404 || status === 403;
      watched.standing = isRefused ? "refused" : "outside";
      watched.mayLack ||= answer === null && socket.connected;
      if (isRefused && !wasRefused) for (const one of listeners) one.onAccess?.();
      return;
    }
    this.heard();
    // One who is silent has to be heard first.
    if (this.#silence === undefined) this.#awaitHeartbeat();
    watched.standing = "inside";
    const isFirst = place.cursor === null;
    const isAnew = arrive(place, { ...answer, reset: answer.reset || watched.mayLack });
    watched.mayLack = false;
    if (!this.#watched.has(keyOf(target))) this.#leave(watched);
    if (wasRefused) for (const one of listeners) one.onAccess?.();
    else if (isAnew) for (const one of listeners) isFirst ? one.onBegin?.() : one.onReset();
    if (isFirst) this.#tell();
  }

  #leave({ place }: Watched): void {
    this.#socket?.emit("unsubscribe", { room: place.room });
  }

  /** Say whether all that is watched is heard; of what is not, try again what may be had. */
  #settle(): void {
    if (!this.#socket?.connected || this.#watched.size === 0) return;
    const missing = this.#missing();
    if (missing.length === 0 && !this.#isSilent) {
      clearTimeout(this.#patience);
      clearTimeout(this.#retry);
      this.#patience = this.#retry = undefined;
      this.#failures = 0;
      this.#signal("caught up");
      return;
    }
    this.#fallBehind();
    if (missing.some(({ standing }) => standing === "outside")) this.#tryAgain(backoff(this.#failures++));
    else if (missing.some(({ standing }) => standing === "refused")) this.#tryAgain(REFUSED);
  }

  #missing(): Watched[] {
    return [...this.#watched.values()].filter(({ standing }) => standing !== "inside");
  }

  #tryAgain(wait: number): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(
      () => (this.#socket?.active ? void this.#join() : this.#socket?.connect()),
      Math.max(wait, patience.until - Date.now()),
    );
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

  /** All that has happened was told. */
  #onHeartbeat(): void {
    this.heard();
    const wasSilent = this.#isSilent;
    this.#awaitHeartbeat();
    if (wasSilent && this.#missing().length === 0) this.#settle();
  }

  #awaitHeartbeat(): void {
    this.#stopAwaiting();
    this.#silence = setTimeout(() => {
      this.#isSilent = true;
      this.#fallBehind();
    }, SILENCE);
  }

  #stopAwaiting(): void {
    clearTimeout(this.#silence);
    this.#silence = undefined;
    this.#isSilent = false;
  }

  #onRevoked(room: string): void {
    for (const watched of this.#in(room)) {
      watched.standing = "refused";
      for (const listener of watched.listeners) listener.onAccess?.();
    }
    this.#settle();
  }

  /** Several may watch what the server calls one room. */
  #in(room: string): Watched[] {
    return [...this.#watched.values()].filter((watched) => watched.place.room === room);
  }

  /** Not all that is watched is heard; after a while one polls. */
  #fallBehind(): void {
    this.#signal("lost");
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
