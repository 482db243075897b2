import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { Button, Confirm, Input, Mono } from "../../ui";

export type Kind = "queue" | "job type";

/** Pauses a queue or a job type of all organizations, or ends its pause. */
export function PauseButton({ kind, name, paused }: { kind: Kind; name: string; paused: boolean }) {
  const [asking, setAsking] = useState(false);
  const resume = useAct({
    run: () => ask(kind === "queue" ? resumeQueue(name) : resumeJobType(name)),
    done: `Jobs of the ${kind} ${name} start again.`,
    touches: [["operator"]],
    toastsError: true,
  });
  if (paused)
    return (
      <Button small busy={resume.isPending} onClick={() => resume.mutate()} aria-label={`Resume ${name}`}>
        Resume
      </Button>
    );
  return (
    <>
      <Button small onClick={() => setAsking(true)} aria-label={`Pause ${name}`}>
        Pause…
      </Button>
      {asking && <Pause kind={kind} name={name} onClose={() => setAsking(false)} />}
    </>
  );
}

function Pause({ kind, name, onClose }: { kind: Kind; name: string; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const pause = useAct({
    run: () => ask(kind === "queue" ? pauseQueue(name, reason) : pauseJobType(name, reason)),
    done: `Nothing of the ${kind} ${name} starts until it is resumed.`,
    touches: [["operator"]],
    after: onClose,
  });
  return (
    <Confirm
      open
      title={`Pause the ${kind} ${name}?`}
      action="Pause"
      onClose={onClose}
      busy={pause.isPending}
      error={pause.error}
      onConfirm={() => pause.mutate()}
    >
      <p>
        Nothing of <Mono>{name}</Mono> starts, of any organization, until it is resumed. What runs finishes.
      </p>
      <Input
        label="Reason"
        hint="Shown in every organization as the reason why a job waits: name no organization in it."
        maxLength={1000}
        value={reason}
        onText={setReason}
      />
    </Confirm>
  );
}

const pauseQueue = (queue: string, reason: string) =>
  api.POST("/api/v1/operator/queues/{queue}/pause", { params: { path: { queue } }, body: { reason } });
const resumeQueue = (queue: string) =>
  api.POST("/api/v1/operator/queues/{queue}/resumption", { params: { path: { queue } } });
const pauseJobType = (job_type: string, reason: string) =>
  api.POST("/api/v1/operator/job-types/{job_type}/pause", { params: { path: { job_type } }, body: { reason } });
const resumeJobType = (job_type: string) =>
  api.POST("/api/v1/operator/job-types/{job_type}/resumption", { params: { path: { job_type } } });
