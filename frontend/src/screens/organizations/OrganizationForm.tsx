import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { within } from "../../api/queries";
import { Confirm, Input } from "../../ui";
import { limitOf } from "../job-types/describe";
import { LimitInput } from "../job-types/LimitInput";
import type { Organization } from "./Organizations";

const DAY = 86_400;

/** Creates an organization, or changes its name and limits. */
export function OrganizationForm({
  organization,
  onClose,
}: {
  organization: Organization | null;
  onClose: () => void;
}) {
  const [id, setId] = useState("");
  const [name, setName] = useState(organization?.name ?? "");
  const [weight, setWeight] = useState(String(organization?.weight ?? 1));
  const [running, setRunning] = useState(organization?.max_running?.toString() ?? "");
  const [live, setLive] = useState(organization?.max_live_jobs?.toString() ?? "");
  const [days, setDays] = useState(organization?.retention ? String(organization.retention / DAY) : "");
  const max_running = limitOf(running);
  const max_live_jobs = limitOf(live);
  const share = limitOf(weight);
  const kept = days.trim() === "" ? null : Number(days);
  const wrongs = {
    weight: !share ? "A whole number from 1 on." : null,
    days: kept !== null && !(kept > 0) ? "A number above 0, or nothing." : null,
  };
  const isWrong =
    max_running === undefined ||
    max_live_jobs === undefined ||
    Object.values(wrongs).some((wrong) => wrong !== null) ||
    (organization === null && id.trim() === "");
  const save = useAct({
    run: () => {
      const limits = {
        ...(name.trim() && { name: name.trim() }),
        weight: share ?? 1,
        max_running: max_running ?? null,
        max_live_jobs: max_live_jobs ?? null,
        retention: kept === null ? null : kept * DAY,
      };
      return organization
        ? ask(
            api.PATCH("/api/v1/operator/organizations/{organization}", {
              params: { path: { organization: organization.id } },
              body: limits,
            }),
          )
        : ask(api.POST("/api/v1/operator/organizations", { body: { id: id.trim(), ...limits } }));
    },
    done: ({ name: saved }) => (organization ? `${saved} was changed.` : `${saved} was created.`),
    touches: [["operator", "organizations"], ...(organization ? [within(organization.id, "self")] : [])],
    after: onClose,
  });
  return (
    <Confirm
      open
      title={organization ? `Limits of ${organization.name}` : "New organization"}
      action={organization ? "Save" : "Create"}
      onClose={onClose}
      busy={save.isPending}
      error={save.error}
      disabled={isWrong}
      onConfirm={() => save.mutate()}
    >
      {organization === null && (
        <Input
          label="Id"
          hint="As your application calls it; it stays. No comma, no slash."
          required
          maxLength={140}
          value={id}
          onText={setId}
        />
      )}
      <Input label="Name" maxLength={200} value={name} onText={setName} />
      <div className="grid gap-3 sm:grid-cols-2">
        <Input
          label="Weight"
          inputMode="numeric"
          hint="Its share of running jobs, relative to others."
          error={wrongs.weight}
          value={weight}
          onText={setWeight}
        />
        <LimitInput label="Running at once" value={running} onText={setRunning} />
        <LimitInput label="Live jobs" value={live} onText={setLive} />
        <Input
          label="Keep ended jobs, in days"
          inputMode="decimal"
          hint="Empty: as their type says."
          error={wrongs.days}
          value={days}
          onText={setDays}
        />
      </div>
    </Confirm>
  );
}
