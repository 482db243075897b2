import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { Button, Dialog, Input, Select, Skeleton, sentence, Tag, Trouble } from "../../ui";
import { limitChanges, limits, shownLimit, type TypedLimit, UNLIMITED, windowsWith } from "./describe";
import { LimitInput } from "./LimitInput";

type Limit = Schema["JobTypeLimit"];

/** What of a job type may run: of all organizations together, and of each by itself. */
export function Limits({ jobType, onClose }: { jobType: string; onClose: () => void }) {
  const found = useQuery({
    queryKey: ["operator", "job-types", jobType, "limits"],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/operator/job-types/{job_type}/limits", { params: { path: { job_type: jobType } }, signal })),
  });
  return (
    <Dialog open wide title={`Limits of ${jobType}`} onClose={onClose}>
      <Trouble source={found} />
      {found.data ? (
        <div className="flex flex-col gap-5">
          <ul className="flex flex-col divide-y divide-line">
            {found.data.items.map((limit) => (
              <Line key={limit.organization ?? ""} limit={limit} />
            ))}
          </ul>
          <SetLimit
            jobType={jobType}
            limits={found.data.items}
            // The question that the change itself asks.
            onSet={() => found.refetch({ cancelRefetch: false })}
          />
        </div>
      ) : (
        !found.error && <Skeleton />
      )}
      <div className="flex justify-end">
        <Button onClick={onClose}>Close</Button>
      </div>
    </Dialog>
  );
}

function Line({ limit }: { limit: Limit }) {
  const { job_type, organization, changed } = limit;
  const reset = useAct({
    run: () =>
      ask(
        api.DELETE("/api/v1/operator/job-types/{job_type}/limits", {
          params: { path: { job_type }, query: organization === null ? {} : { organization } },
        }),
      ),
    done: "The limits of its handler hold again.",
    touches: [["operator", "job-types"]],
    toastsError: true,
  });
  return (
    <li className="flex flex-wrap items-center gap-2 py-2 text-sm">
      <span className="min-w-32 font-medium break-all">{organization ?? "All together"}</span>
      <span className="text-muted">{limits(limit).join(", ") || "unlimited"}</span>
      {changed && changed.length > 0 && (
        <span className="ml-auto flex items-center gap-2">
          <Tag tone="accent">set here</Tag>
          <Button
            small
            busy={reset.isPending}
            onClick={() => reset.mutate()}
            aria-label={`Reset the limit of ${organization ?? "all together"}`}
          >
            Reset
          </Button>
        </span>
      )}
    </li>
  );
}

interface SetLimitProps {
  jobType: string;
  /** All that hold. */
  limits: readonly Limit[];
  /** One was set; ends when `limits` tell so. */
  onSet: () => Promise<unknown>;
}

function SetLimit({ jobType, limits: all, onSet }: SetLimitProps) {
  const form = useRef<HTMLFormElement>(null);
  const [organization, setOrganization] = useState("");
  const [typed, setTyped] = useState<TypedLimit>({});
  const whose = organization.trim() || null;
  const holds = all.find((one) => one.organization === whose) ?? UNLIMITED;
  const { running, rate, window } = shownLimit(holds, typed);
  const changes = limitChanges(holds, typed);
  const lifts = changes !== null && limits({ ...holds, ...changes }).length === 0;
  const set = useAct({
    run: (body: NonNullable<typeof changes>) =>
      ask(
        api.PATCH("/api/v1/operator/job-types/{job_type}/limits", {
          params: { path: { job_type: jobType }, query: whose === null ? {} : { organization: whose } },
          // Its type wants what has a default, too; what is left out stays.
          body: body as Schema["LimitChange"],
        }),
      ),
    done: (limit) =>
      limits(limit).length > 0
        ? "The limit holds from now on; what runs beyond it finishes."
        : "It is unlimited from now on.",
    touches: [["operator", "job-types"]],
    after: async () => {
      await onSet();
      setTyped({});
      // A button that waits can't have the focus, and nor can one that has nothing to set.
      if (document.activeElement === document.body) form.current?.querySelector("input")?.focus();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (changes) set.mutate(changes);
  };
  return (
    <form ref={form} onSubmit={submit} className="flex flex-col gap-3 border-t border-line pt-4">
      <h3 className="text-sm font-semibold">Set a limit</h3>
      <div className="grid gap-3 sm:grid-cols-4">
        <Input label="Organization" hint="Empty: all together." value={organization} onText={setOrganization} />
        <LimitInput
          label="At once"
          hint="Empty: unlimited. 0: none."
          value={running}
          onText={(running) => setTyped({ ...typed, running })}
        />
        <LimitInput label="Starts" value={rate} onText={(rate) => setTyped({ ...typed, rate })} />
        <Select label="Within any" value={window} onText={(window) => setTyped({ ...typed, window })}>
          {windowsWith(holds.execution_rate_window).map(([name, seconds]) => (
            <option key={name} value={seconds}>
              {name}
            </option>
          ))}
        </Select>
      </div>
      {set.error && (
        <p role="alert" className="text-sm text-bad">
          {sentence(set.error)}
        </p>
      )}
      <div>
        <Button type="submit" look={lifts ? "danger" : "primary"} busy={set.isPending} disabled={changes === null}>
          {lifts ? "Lift the limit" : "Set"}
        </Button>
      </div>
    </form>
  );
}
