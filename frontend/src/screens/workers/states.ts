/** What a worker's row says of it. Pure. */
import type { Schema } from "../../api/client";

export type Worker = Schema["WorkerView"];

/** One word, as a status. */
export function stateOf(
  worker: Pick<Worker, "stopping" | "drain_requested" | "silent" | "lease_left" | "lost">,
): "lost" | "stopping" | "draining" | "silent" | "active" {
  if (worker.lost) return "lost";
  if (worker.stopping) return "stopping";
  if (worker.drain_requested) return "draining";
  // One that works sends a heartbeat long before half of its lease is over.
  return worker.silent > worker.lease_left ? "silent" : "active";
}

/** The versions that run, the one of most workers first. */
export function versions(workers: readonly Pick<Worker, "version">[]): string[] {
  const sizes = new Map<string, number>();
  for (const { version } of workers) sizes.set(version ?? "unknown", (sizes.get(version ?? "unknown") ?? 0) + 1);
  return [...sizes].sort(([a, x], [b, y]) => y - x || a.localeCompare(b)).map(([version]) => version);
}
