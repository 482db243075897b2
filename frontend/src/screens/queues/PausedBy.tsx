import type { Schema } from "../../api/client";
import { Time } from "../../ui";

/** Who paused something, when, and why; nothing where nobody did. */
export function PausedBy({ pause }: { pause: Schema["PauseView"] | null | undefined }) {
  if (!pause) return null;
  return (
    <>
      paused by {pause.by} <Time at={pause.since} />
      {pause.reason && `: ${pause.reason}`}
    </>
  );
}
