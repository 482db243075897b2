/** Whoever asks too often is told to wait; the wait is shown, and then what was asked for is asked for again. */
import { retryDelay, tooMany } from "./problem";

/** Until when the server wants one to wait, in milliseconds; long ago: it does not. */
class Patience {
  #until = 0;
  #observers = new Set<() => void>();

  get until(): number {
    return this.#until;
  }

  /** Be told when one has to wait. */
  observe = (observer: () => void): (() => void) => {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  };

  /** Note what the server answered, if it is that one asked too often. */
  note(error: unknown): void {
    if (!tooMany(error)) return;
    this.#until = Math.max(this.#until, Date.now() + retryDelay(0, error));
    for (const observer of this.#observers) observer();
  }
}

export const patience = new Patience();

/** Do something, and again after each wait that the server asks for. What it refused so was not done in part. */
export async function patiently<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!tooMany(error) || signal.aborted) throw error;
      patience.note(error);
      await pause(retryDelay(0, error), signal);
      signal.throwIfAborted();
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    });
  });
}
