import { type ReactNode, useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { within } from "../../api/queries";
import { Confirm, Input, Select } from "../../ui";
import type { Organization } from "./Organizations";

type Deed = "pause" | "resume" | "suspend" | "activate" | "delete";

const TOLD: Record<Deed, { label: string; effect: string; done: string }> = {
  pause: {
    label: "Pause",
    effect: "None of its jobs starts until it is resumed; running ones finish, and submissions go on.",
    done: "is paused.",
  },
  resume: { label: "Resume", effect: "Its jobs start again.", done: "goes on." },
  suspend: {
    label: "Suspend",
    effect: "Its submissions are refused, none of its jobs starts, and its results are locked; running jobs finish.",
    done: "is suspended.",
  },
  activate: {
    label: "Activate",
    effect: "It may submit again, its jobs start, and its results are open.",
    done: "is active.",
  },
  delete: {
    label: "Delete",
    effect: "Its waiting jobs go to dead letter, and running ones finish. Its id stays taken. This can't be undone.",
    done: "was deleted.",
  },
};

/** What can be done with an organization; which of it, its status says. */
export function Deeds({ organization }: { organization: Organization }) {
  const [deed, setDeed] = useState<Deed | "">("");
  const open: Deed[] = [
    organization.paused ? "resume" : "pause",
    organization.status === "suspended" ? "activate" : "suspend",
    "delete",
  ];
  return (
    <>
      <div className="w-24">
        <Select
          label={`More with ${organization.name}`}
          hideLabel
          value=""
          small
          onChange={(event) => setDeed(event.target.value as Deed)}
        >
          <option value="">More…</option>
          {open.map((one) => (
            <option key={one} value={one}>
              {TOLD[one].label}…
            </option>
          ))}
        </Select>
      </div>
      {deed && <Ask deed={deed} organization={organization} onClose={() => setDeed("")} />}
    </>
  );
}

function Ask({
  deed,
  organization: { id, name },
  onClose,
}: {
  deed: Deed;
  organization: Organization;
  onClose: () => void;
}) {
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const { label, effect, done } = TOLD[deed];
  const act = useAct({
    run: () => request(deed, id, reason),
    done: `${name} ${done}`,
    touches: [["operator"], within(id, "self")],
    after: onClose,
  });
  let more: ReactNode = null;
  if (deed === "pause")
    more = (
      <Input
        label="Reason"
        hint="Shown as the reason why a job waits."
        maxLength={1000}
        value={reason}
        onText={setReason}
      />
    );
  if (deed === "delete")
    more = <Input label={`Its id, to be sure: ${id}`} autoComplete="off" value={typed} onText={setTyped} />;
  return (
    <Confirm
      open
      danger={deed === "delete" || deed === "suspend"}
      title={`${label} ${name}?`}
      action={label}
      onClose={onClose}
      busy={act.isPending}
      error={act.error}
      disabled={deed === "delete" && typed !== id}
      onConfirm={() => act.mutate()}
    >
      <p>{effect}</p>
      {more}
    </Confirm>
  );
}

function request(deed: Deed, organization: string, reason: string): Promise<unknown> {
  const params = { path: { organization } };
  switch (deed) {
    case "pause":
      return ask(api.POST("/api/v1/operator/organizations/{organization}/pause", { params, body: { reason } }));
    case "resume":
      return ask(api.POST("/api/v1/operator/organizations/{organization}/resumption", { params }));
    case "suspend":
      return ask(api.POST("/api/v1/operator/organizations/{organization}/suspension", { params }));
    case "activate":
      return ask(api.POST("/api/v1/operator/organizations/{organization}/activation", { params }));
    case "delete":
      return ask(api.DELETE("/api/v1/operator/organizations/{organization}", { params }));
  }
}
