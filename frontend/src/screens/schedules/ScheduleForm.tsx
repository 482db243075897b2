import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { useAct } from "../../api/act";
import { jobTypesQuery, within } from "../../api/queries";
import { useOrganization } from "../../shell/access";
import { Confirm, Input, Select, Textarea, timeZone } from "../../ui";
import { PRIORITIES } from "../submit/SubmitDialog";
import { inWords } from "./cron";
import { bodyOf, type Draft, draftOf, isComplete, type Missed, type Schedule, wrongs } from "./draft";
import { createSchedule, putSchedule } from "./queries";
import { everyInWords, secondsOf, UNITS } from "./ticks";

export const MISSED: Record<Missed, string> = {
  one: "one job, for the latest",
  all: "a job for each",
  skip: "skipped",
};

interface PartProps {
  draft: Draft;
  onChange: (change: Partial<Draft>) => void;
  wrong: ReturnType<typeof wrongs>;
  schedule: Schedule | null;
}

/** Creates a schedule, or changes what one is. */
export function ScheduleForm({ schedule, onClose }: { schedule: Schedule | null; onClose: () => void }) {
  const organization = useOrganization();
  const [draft, setDraft] = useState(() => draftOf(schedule, timeZone()));
  const wrong = wrongs(draft, schedule);
  const name = draft.name.trim();
  const save = useAct({
    run: () => (schedule ? putSchedule : createSchedule)(organization, name, bodyOf(draft, schedule)),
    done: schedule ? `${name} was changed.` : `${name} was created.`,
    touches: [within(organization, "schedules")],
    after: onClose,
  });
  const part: PartProps = { draft, onChange: (change) => setDraft({ ...draft, ...change }), wrong, schedule };
  return (
    <Confirm
      open
      wide
      title={schedule ? `Change ${schedule.name}` : "New schedule"}
      action={schedule ? "Change" : "Create"}
      onClose={onClose}
      busy={save.isPending}
      error={save.error}
      disabled={!isComplete(draft) || Object.keys(wrong).length > 0}
      onConfirm={() => save.mutate()}
    >
      <What {...part} />
      <When {...part} />
      <How {...part} />
    </Confirm>
  );
}

function What({ draft, onChange, wrong, schedule }: PartProps) {
  const types = useQuery(jobTypesQuery(useOrganization()));
  const names = types.data?.items.map((type) => type.name) ?? [];
  return (
    <div className="grid gap-3 sm:grid-cols-2">
      {!schedule && (
        <Input
          label="Name"
          hint="It can’t be changed later; its jobs have it as their label “schedule”."
          error={wrong.name}
          required
          maxLength={200}
          value={draft.name}
          onText={(name) => onChange({ name })}
        />
      )}
      <Select label="Job type" required value={draft.jobType} onText={(jobType) => onChange({ jobType })}>
        <option value="">Choose one</option>
        {schedule && !names.includes(schedule.job_type) && <option>{schedule.job_type}</option>}
        {types.data?.items.map((type) => (
          <option key={type.name} value={type.name} disabled={!type.enabled && type.name !== schedule?.job_type}>
            {type.name}
          </option>
        ))}
      </Select>
    </div>
  );
}

function When({ draft, onChange, wrong }: PartProps) {
  const zones = useId();
  return (
    <div className="grid gap-3 sm:grid-cols-2">
      <Select label="When" value={draft.by} onChange={(event) => onChange({ by: event.target.value as Draft["by"] })}>
        <option value="cron">By a cron expression</option>
        <option value="every">Every so often</option>
      </Select>
      {draft.by === "cron" ? (
        <>
          <Input
            label="Cron expression"
            hint={inWords(draft.cron) ?? "Minute, hour, day of month, month, day of week."}
            required
            maxLength={200}
            placeholder="30 6 * * MON-FRI"
            autoComplete="off"
            spellCheck={false}
            className="font-mono"
            value={draft.cron}
            onText={(cron) => onChange({ cron })}
          />
          <Input
            label="Time zone"
            hint="The time zone of the expression."
            required
            maxLength={100}
            list={zones}
            autoComplete="off"
            spellCheck={false}
            value={draft.timeZone}
            onText={(timeZone) => onChange({ timeZone })}
          />
          <datalist id={zones}>
            {["UTC", ...Intl.supportedValuesOf("timeZone")].map((zone) => (
              <option key={zone} value={zone} />
            ))}
          </datalist>
        </>
      ) : (
        <div className="grid grid-cols-2 gap-3">
          <Input
            label="Every"
            hint={wrong.amount ? undefined : `${everyInWords(secondsOf(Number(draft.amount), draft.unit))}, from now`}
            required
            inputMode="decimal"
            error={wrong.amount}
            value={draft.amount}
            onText={(amount) => onChange({ amount })}
          />
          <Select
            label="Unit"
            value={draft.unit}
            onChange={(event) => onChange({ unit: event.target.value as Draft["unit"] })}
          >
            {UNITS.map(([unit]) => (
              <option key={unit}>{unit}</option>
            ))}
          </Select>
        </div>
      )}
      <Select
        label="Ticks that were missed"
        hint="Because no worker or no database was running, or the job was refused."
        value={draft.missed}
        onChange={(event) => onChange({ missed: event.target.value as Missed })}
      >
        {Object.entries(MISSED).map(([missed, label]) => (
          <option key={missed} value={missed}>
            {label}
          </option>
        ))}
      </Select>
    </div>
  );
}

function How({ draft, onChange, wrong, schedule }: PartProps) {
  const isSystems = schedule !== null && schedule.user === null;
  return (
    <>
      <Textarea
        label="Parameters (JSON)"
        rows={5}
        hint={schedule ? "Unchanged, or empty: its current parameters." : undefined}
        spellCheck={false}
        className="font-mono text-xs"
        error={wrong.parameters}
        value={draft.parameters}
        onText={(parameters) => onChange({ parameters })}
      />
      <div className="grid gap-3 sm:grid-cols-3">
        <Input
          label="User"
          hint={isSystems ? "The system so far. Empty: you, from now on." : "The user of the jobs. Empty: you."}
          maxLength={200}
          autoComplete="off"
          value={draft.user}
          onText={(user) => onChange({ user })}
        />
        <Select
          label="Priority"
          value={draft.priority}
          onChange={(event) => onChange({ priority: event.target.value as Draft["priority"] })}
        >
          <option value="">As its type says</option>
          {PRIORITIES.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Select>
        <Input
          label="Queue"
          hint="Empty: as its type says."
          maxLength={200}
          autoComplete="off"
          value={draft.queue}
          onText={(queue) => onChange({ queue })}
        />
      </div>
    </>
  );
}
