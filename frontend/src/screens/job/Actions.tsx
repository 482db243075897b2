import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, BASE } from "../../api/client";
import { written } from "../../api/json";
import { type Job, jobQuery } from "../../api/queries";
import { useMay, useMayChange } from "../../shell/access";
import { Button, buttonClass, Confirm, CopyButton, Input, short, Textarea } from "../../ui";
import { Decide } from "../dead-letters/Deeds";
import { touchedByDeeds } from "../dead-letters/queries";
import { isWaiting } from "../jobs/waits";
import { parsed } from "../submit/parsed";
import { SubmitDialog } from "../submit/SubmitDialog";
import { type Changing, useChange } from "./change";
import { curl } from "./curl";
import { explanationQuery } from "./queries";
import { WaitingActions } from "./Waiting";

/** What can be done with the job, by whoever may. */
export function Actions({ job }: { job: Job }) {
  const [asked, setAsked] = useState<"cancel" | "retry" | "edit" | "again" | "resolved" | "ignored" | "delete" | null>(
    null,
  );
  const mayChange = useMayChange(job);
  const maySubmit = useMay("jobs:submit");
  const mayDelete = useMay("jobs:delete");
  const isLive = job.status === "pending" || job.status === "queued" || job.status === "running";
  const isDead = job.status === "dead_letter";
  const { data: explained } = useQuery(explanationQuery(job.organization, job.id));
  const mayRetry = isDead && mayChange && !explained?.reasons.some(({ code }) => code === "parent_deleted");
  const parent = useDeadParent(job);
  const close = () => setAsked(null);
  return (
    <>
      {!job.payload_hidden && (
        <CopyButton
          text={curl(BASE.href, job)}
          small={false}
          label="Copy as curl"
          done="Copied; put a token into FAIRLANE_TOKEN"
        />
      )}
      {maySubmit && !isLive && !mayRetry && !job.payload_hidden && (
        <Button onClick={() => setAsked("again")}>Submit again</Button>
      )}
      {mayRetry && !parent && maySubmit && !job.payload_hidden && (
        <Button onClick={() => setAsked("edit")}>Edit and retry</Button>
      )}
      {isDead && mayChange && (
        <>
          <Button onClick={() => setAsked("resolved")}>Resolve…</Button>
          <Button onClick={() => setAsked("ignored")}>Ignore…</Button>
        </>
      )}
      {!isLive && mayDelete && <Button onClick={() => setAsked("delete")}>Delete…</Button>}
      {mayRetry &&
        (parent ? (
          <Link
            to="/o/$organization/jobs/$job"
            params={{ organization: job.organization, job: parent }}
            className={buttonClass("primary")}
          >
            Show its parent
          </Link>
        ) : (
          <Button look="primary" onClick={() => setAsked("retry")}>
            Retry
          </Button>
        ))}
      {mayChange && isWaiting(job) && <WaitingActions job={job} explained={explained} />}
      {isLive && mayChange && (
        <Button look="danger" disabled={job.cancel_requested_at !== null} onClick={() => setAsked("cancel")}>
          {job.cancel_requested_at ? "Stopping…" : "Cancel…"}
        </Button>
      )}
      {asked === "cancel" && <Cancel job={job} onClose={close} />}
      {asked === "retry" && <Retry job={job} onClose={close} />}
      {asked === "edit" && <Retry job={job} onClose={close} edit />}
      {(asked === "resolved" || asked === "ignored") && (
        <Decide ids={[job.id]} organization={job.organization} resolution={asked} onClose={close} onDone={close} />
      )}
      {asked === "delete" && <Delete job={job} onClose={close} />}
      {asked === "again" && <SubmitDialog organization={job.organization} like={job} onClose={close} />}
    </>
  );
}

/** The parent that took the job down, while it is a dead letter: the job can't be retried before it. */
function useDeadParent(job: Job): string | undefined {
  const fallen = job.status === "dead_letter" && job.error_type === "ParentEnded";
  const parent = fallen ? job.depends_on.find((id) => job.error_message?.includes(id)) : undefined;
  const { data } = useQuery({ ...jobQuery(job.organization, parent ?? ""), enabled: parent !== undefined });
  return data?.status === "dead_letter" ? parent : undefined;
}

function Cancel({ job, onClose }: Changing) {
  const [reason, setReason] = useState("");
  const cancel = useChange(
    { job, onClose },
    () =>
      ask(
        api.POST("/api/v1/organizations/{organization}/jobs/{job}/cancellation", {
          params: { path: { organization: job.organization, job: job.id } },
          body: { reason },
        }),
      ),
    (made) => (made.status === "canceled" ? "Canceled." : "Asked its worker to stop it."),
  );
  return (
    <Confirm
      open
      title="Cancel this job?"
      action="Cancel the job"
      danger
      busy={cancel.isPending}
      error={cancel.error}
      onConfirm={() => cancel.mutate()}
      onClose={onClose}
    >
      <p className="text-muted">
        {job.status === "running"
          ? "It runs: its worker is asked to stop it. A handler in a process of its own is killed if it does not stop. One in a thread can't be killed: if it does not listen, it may go on."
          : "It waits, so it is canceled at once."}
      </p>
      <Input label="Why (optional)" maxLength={1000} value={reason} onText={setReason} />
    </Confirm>
  );
}

function Retry({ job, onClose, edit = false }: Changing & { edit?: boolean }) {
  const [text, setText] = useState(() => written(job.parameters, true));
  const parameters = edit ? parsed(text) : undefined;
  const retry = useChange(
    { job, onClose },
    () =>
      ask(
        api.POST("/api/v1/organizations/{organization}/jobs/{job}/retry", {
          params: { path: { organization: job.organization, job: job.id } },
          body: parameters ? { parameters } : {},
        }),
      ),
    "Queued again.",
  );
  return (
    <Confirm
      open
      wide={edit}
      title={edit ? "Edit and retry" : "Retry this job?"}
      action="Retry"
      busy={retry.isPending}
      error={retry.error}
      disabled={edit && !parameters}
      onConfirm={() => retry.mutate()}
      onClose={onClose}
    >
      <p className="text-muted">
        It is queued again, with a fresh count of retries. Children that went down with it are revived.
      </p>
      {edit && (
        <Textarea
          label="Parameters (JSON)"
          rows={10}
          spellCheck={false}
          className="font-mono text-xs"
          error={parameters ? null : "This is not a JSON object."}
          value={text}
          onText={setText}
        />
      )}
    </Confirm>
  );
}

function Delete({ job: { organization, id }, onClose }: Changing) {
  const navigate = useNavigate();
  const remove = useAct({
    run: () =>
      ask(
        api.DELETE("/api/v1/organizations/{organization}/jobs/{job}", { params: { path: { organization, job: id } } }),
      ),
    done: `Job ${short(id)} was deleted.`,
    touches: touchedByDeeds(organization),
    after: () => void navigate({ to: "/o/$organization/jobs", params: { organization }, replace: true }),
  });
  return (
    <Confirm
      open
      danger
      title="Delete this job?"
      action="Delete the job"
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
      onClose={onClose}
    >
      <p>
        It goes with its parameters, result, history, log and files. The audit keeps who deleted it. This can't be
        undone.
      </p>
    </Confirm>
  );
}
