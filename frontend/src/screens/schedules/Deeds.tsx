import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useAct } from "../../api/act";
import { within } from "../../api/queries";
import { useMay, useOrganization } from "../../shell/access";
import { Button, Confirm } from "../../ui";
import type { Schedule } from "./draft";
import { deleteSchedule, pauseSchedule, resumeSchedule, submitScheduledJob } from "./queries";
import { ScheduleForm } from "./ScheduleForm";

type Deed = "pause" | "resume" | "submit" | "change" | "delete";

/** What can be done with a schedule, for those who may change it. To have jobs submitted, one has to be allowed to submit. */
export function Deeds({ schedule }: { schedule: Schedule }) {
  const maySubmit = useMay("jobs:submit");
  const [deed, setDeed] = useState<{ name: Deed; schedule: Schedule } | null>(null);
  const open: (readonly [Deed, string])[] = [
    schedule.paused_at === null ? ["pause", "Pause"] : ["resume", "Resume"],
    ...(maySubmit
      ? ([
          ["submit", "Submit now"],
          ["change", "Change"],
        ] as const)
      : []),
    ["delete", "Delete"],
  ];
  const onClose = () => setDeed(null);
  return (
    <>
      <span className="inline-grid gap-1.5 xl:grid-cols-[auto_auto]">
        {open.map(([name, label]) => (
          <Button key={name} small onClick={() => setDeed({ name, schedule })} aria-label={`${label} ${schedule.name}`}>
            {label}…
          </Button>
        ))}
      </span>
      {deed?.name === "pause" && <Pause schedule={deed.schedule} onClose={onClose} />}
      {deed?.name === "resume" && <Resume schedule={deed.schedule} onClose={onClose} />}
      {deed?.name === "submit" && <SubmitNow schedule={deed.schedule} onClose={onClose} />}
      {deed?.name === "change" && <ScheduleForm schedule={deed.schedule} onClose={onClose} />}
      {deed?.name === "delete" && <Delete schedule={deed.schedule} onClose={onClose} />}
    </>
  );
}

interface Props {
  schedule: Schedule;
  onClose: () => void;
}

function Pause({ schedule: { name }, onClose }: Props) {
  const organization = useOrganization();
  const pause = useAct({
    run: () => pauseSchedule(organization, name),
    done: `${name} is paused.`,
    touches: [within(organization, "schedules")],
    after: onClose,
  });
  return (
    <Confirm
      open
      title={`Pause ${name}?`}
      action="Pause"
      onClose={onClose}
      busy={pause.isPending}
      error={pause.error}
      onConfirm={() => pause.mutate()}
    >
      <p>Its ticks submit no jobs until it is resumed. Existing jobs go on.</p>
    </Confirm>
  );
}

function Resume({ schedule: { name }, onClose }: Props) {
  const organization = useOrganization();
  const resume = useAct({
    run: () => resumeSchedule(organization, name),
    done: `${name} goes on.`,
    touches: [within(organization, "schedules")],
    after: onClose,
  });
  return (
    <Confirm
      open
      title={`Resume ${name}?`}
      action="Resume"
      onClose={onClose}
      busy={resume.isPending}
      error={resume.error}
      onConfirm={() => resume.mutate()}
    >
      <p>It goes on with its next tick from now; ticks during the pause make no jobs.</p>
    </Confirm>
  );
}

function SubmitNow({ schedule: { name, user }, onClose }: Props) {
  const organization = useOrganization();
  const navigate = useNavigate();
  const submit = useAct({
    run: () => submitScheduledJob(organization, name),
    done: "Submitted.",
    touches: [within(organization, "schedules")],
    after: ({ id }) => {
      onClose();
      void navigate({ to: "/o/$organization/jobs/$job", params: { organization, job: id } });
    },
  });
  return (
    <Confirm
      open
      title={`Submit a job of ${name} now?`}
      action="Submit"
      onClose={onClose}
      busy={submit.isPending}
      error={submit.error}
      onConfirm={() => submit.mutate()}
    >
      <p>
        As {user ?? "the system"}, with the schedule's parameters, beside the jobs of its ticks. You are led to the job.
      </p>
    </Confirm>
  );
}

function Delete({ schedule: { name }, onClose }: Props) {
  const organization = useOrganization();
  const remove = useAct({
    run: () => deleteSchedule(organization, name),
    done: `${name} was deleted.`,
    touches: [within(organization, "schedules")],
    after: onClose,
  });
  return (
    <Confirm
      open
      danger
      title={`Delete ${name}?`}
      action="Delete"
      onClose={onClose}
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
    >
      <p>It submits no more jobs; its existing jobs stay. This can't be undone.</p>
    </Confirm>
  );
}
