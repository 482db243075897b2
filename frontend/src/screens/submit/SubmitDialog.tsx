import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { written } from "../../api/json";
import { Problem } from "../../api/problem";
import { type Job, jobTypesQuery } from "../../api/queries";
import { Confirm, Input, Select, Textarea } from "../../ui";
import { parsed } from "./parsed";
import { type JsonSchema, parameters as parametersOf, skeleton } from "./takes";

export const PRIORITIES = ["low", "normal", "high", "critical"] as const;

interface Props {
  organization: string;
  /** A job to begin with. */
  like?: Job;
  onClose: () => void;
}

/** Submit a job by hand. */
export function SubmitDialog({ organization, like, onClose }: Props) {
  const types = useQuery(jobTypesQuery(organization));
  const [type, setType] = useState(like?.job_type ?? "");
  const [text, setText] = useState(() => written(like?.parameters ?? {}, true));
  const [priority, setPriority] = useState<Schema["Priority"] | "">(like?.priority ?? "");
  const [delay, setDelay] = useState("");
  const navigate = useNavigate();
  const parameters = parsed(text);
  const schemaOf = (name: string) => types.data?.items.find((one) => one.name === name)?.parameters;
  const schema = schemaOf(type);
  const choose = (name: string) => {
    // What somebody has typed stays.
    if (text === (schema ? skeleton(schema) : "{}")) setText(skeleton(schemaOf(name) ?? {}));
    setType(name);
  };
  const submit = useAct({
    run: () =>
      ask(
        api.POST("/api/v1/organizations/{organization}/jobs", {
          params: { path: { organization } },
          body: {
            job_type: type,
            parameters: parameters ?? {},
            ...(priority && { priority }),
            ...(delay && { delay: Number(delay) }),
            ...(like && { queue: like.queue, labels: like.labels }),
          } as Schema["NewJob"],
        }),
      ),
    done: "Submitted.",
    touches: [],
    after: async (job) => {
      onClose();
      await navigate({ to: "/o/$organization/jobs/$job", params: { organization, job: job.id } });
    },
  });
  const existing = submit.error instanceof Problem ? submit.error.more.existing_id : undefined;
  return (
    <Confirm
      open
      wide
      title="Submit a job"
      action="Submit"
      busy={submit.isPending}
      error={submit.error}
      disabled={type === "" || !parameters}
      onConfirm={() => submit.mutate()}
      onClose={onClose}
    >
      <Select label="Job type" required value={type} onText={choose}>
        <option value="">Choose one</option>
        {/* That of a job to begin with can be submitted before the others have come. */}
        {type !== "" && !types.data?.items.some(({ name }) => name === type) && <option>{type}</option>}
        {types.data?.items.map(({ name, enabled }) => (
          <option key={name} value={name} disabled={!enabled}>
            {name}
          </option>
        ))}
      </Select>
      <Textarea
        label="Parameters (JSON)"
        rows={8}
        spellCheck={false}
        className="font-mono text-xs"
        error={parameters ? null : "This is not a JSON object."}
        value={text}
        onText={setText}
      />
      {schema && <Takes schema={schema} />}
      <div className="grid gap-3 sm:grid-cols-2">
        <Select
          label="Priority"
          value={priority}
          onChange={(event) => setPriority(event.target.value as typeof priority)}
        >
          <option value="">As its type says</option>
          {PRIORITIES.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Select>
        <Input label="Delay in seconds" inputMode="numeric" pattern="[0-9]*" value={delay} onText={setDelay} />
      </div>
      {typeof existing === "string" && (
        <button
          type="button"
          className="self-start text-sm text-accent underline"
          onClick={() => {
            onClose();
            void navigate({ to: "/o/$organization/jobs/$job", params: { organization, job: existing } });
          }}
        >
          Show the job that is there already
        </button>
      )}
    </Confirm>
  );
}

/** What the type's jobs take. */
function Takes({ schema }: { schema: JsonSchema }) {
  const takes = parametersOf(schema);
  if (takes.length === 0) return <p className="text-xs text-muted">It takes no parameters that have names.</p>;
  return (
    <dl aria-label="What it takes" className="grid grid-cols-[max-content_minmax(0,1fr)] gap-x-3 gap-y-0.5 text-xs">
      {takes.map(({ name, what, required }) => (
        <div key={name} className="contents">
          <dt className="max-w-40 truncate font-mono">{name}</dt>
          <dd className="text-muted">
            {what}
            {!required && " (optional)"}
          </dd>
        </div>
      ))}
    </dl>
  );
}
