import { useState } from "react";
import { api, ask, type Schema } from "../../api/client";
import type { Job } from "../../api/queries";
import { Button, Confirm, Moment, Select, timeZone } from "../../ui";
import { PRIORITIES } from "../submit/SubmitDialog";
import { type Changing, useChange } from "./change";

/** What can be done with a job that has not started, or waits for its next attempt. */
export function WaitingActions({ job, explained }: { job: Job; explained: Schema["Explanation"] | undefined }) {
  const [asked, setAsked] = useState<"time" | "priority" | null>(null);
  const waitsFor = new Set(explained?.reasons.map(({ code }) => code));
  const waitsForTime = waitsFor.has("scheduled") || waitsFor.has("waits_for_retry");
  const close = () => setAsked(null);
  return (
    <>
      {waitsForTime && !waitsFor.has("waits_for_parents") && <RunNow job={job} onClose={close} />}
      <Button onClick={() => setAsked("time")}>Reschedule…</Button>
      <Button onClick={() => setAsked("priority")}>Priority…</Button>
      {asked === "time" && <Reschedule job={job} onClose={close} />}
      {asked === "priority" && <Prioritize job={job} onClose={close} />}
    </>
  );
}

function path({ organization, id }: Job) {
  return { params: { path: { organization, job: id } } };
}

function RunNow(changing: Changing) {
  const run = useChange(
    changing,
    () => ask(api.POST("/api/v1/organizations/{organization}/jobs/{job}/run-now", path(changing.job))),
    "It is ready to start.",
    true,
  );
  return (
    <Button busy={run.isPending} onClick={() => run.mutate()}>
      Run now
    </Button>
  );
}

function Reschedule({ job, onClose }: Changing) {
  const before = job.next_retry_at ?? job.run_at;
  const [at, setAt] = useState<string | undefined>(before);
  const change = useChange(
    { job, onClose },
    () =>
      ask(
        api.PUT("/api/v1/organizations/{organization}/jobs/{job}/run-at", {
          ...path(job),
          body: { run_at: at ?? before },
        }),
      ),
    "Rescheduled.",
  );
  return (
    <Confirm
      open
      title="Reschedule this job?"
      action="Reschedule"
      busy={change.isPending}
      error={change.error}
      disabled={at === undefined || at === before}
      onConfirm={() => change.mutate()}
      onClose={onClose}
    >
      <Moment label="Start no earlier than" hint={`In your time zone, ${timeZone()}.`} value={at} onChange={setAt} />
      <p className="text-muted">A past time means now. A job with parents waits for them, too.</p>
    </Confirm>
  );
}

function Prioritize({ job, onClose }: Changing) {
  const [priority, setPriority] = useState(job.priority);
  const change = useChange(
    { job, onClose },
    () =>
      ask(api.PUT("/api/v1/organizations/{organization}/jobs/{job}/priority", { ...path(job), body: { priority } })),
    (made) => `Its priority is ${made.priority}.`,
  );
  return (
    <Confirm
      open
      title="Change this job's priority?"
      action="Change the priority"
      busy={change.isPending}
      error={change.error}
      disabled={priority === job.priority}
      onConfirm={() => change.mutate()}
      onClose={onClose}
    >
      <p className="text-muted">Within the organization, jobs of a higher priority start first.</p>
      <Select
        label="Priority"
        value={priority}
        onChange={(event) => setPriority(event.target.value as Job["priority"])}
      >
        {PRIORITIES.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </Select>
    </Confirm>
  );
}
