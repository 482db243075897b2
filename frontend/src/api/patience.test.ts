import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { patience, patiently } from "./patience";
import { Problem } from "./problem";

const WAIT = new Problem(429, "urn:fairlane:problem:too-many-requests", "Too many.", 7);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("does again what was refused for a while, and tells until when", async () => {
  const run = vi.fn().mockRejectedValueOnce(WAIT).mockResolvedValueOnce("done");
  const seen = vi.fn();
  const stop = patience.observe(seen);
  const told = patiently(run, new AbortController().signal);
  await vi.advanceTimersByTimeAsync(6_999);

  expect(run).toHaveBeenCalledTimes(1);
  expect(patience.until - Date.now()).toBe(1);
  expect(seen).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(await told).toBe("done");
  stop();
});

it("waits for nothing else, and no longer than somebody wants it", async () => {
  const full = new Problem(429, "urn:fairlane:problem:queue-full", "The queue is full.", 7);
  await expect(patiently(() => Promise.reject(full), new AbortController().signal)).rejects.toBe(full);
  const abort = new AbortController();
  const told = patiently(() => Promise.reject(WAIT), abort.signal);
  const refused = expect(told).rejects.toThrow();
  await vi.advanceTimersByTimeAsync(1_000);
  abort.abort();
  await refused;
});
