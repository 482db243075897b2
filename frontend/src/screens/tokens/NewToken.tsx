import { useState } from "react";
import { useAct } from "../../api/act";
import type { Schema } from "../../api/client";
import type { Right } from "../../api/queries";
import { Button, Checkbox, Code, Confirm, CopyButton, Dialog, Input, Select } from "../../ui";
import { LIVES, RIGHT_NAMES } from "./rights";

type Created = Schema["CreatedToken"];
type Body = Pick<Schema["NewToken"], "name" | "scopes" | "expires_in">;

interface Props {
  /** Which ones there are to choose from. */
  rights: readonly Right[];
  touches: readonly unknown[];
  create: (body: Body) => Promise<Created>;
}

/** Makes a token, and shows its secret once. */
export function NewTokenButton(props: Props) {
  const [step, setStep] = useState<"closed" | "asking" | Created>("closed");
  return (
    <>
      <Button look="primary" onClick={() => setStep("asking")}>
        New token…
      </Button>
      {step === "asking" && <Form {...props} onClose={() => setStep("closed")} onCreated={setStep} />}
      {typeof step === "object" && <Secret created={step} onClose={() => setStep("closed")} />}
    </>
  );
}

const DAY = 86_400;

function Form({
  rights,
  touches,
  create,
  onClose,
  onCreated,
}: Props & { onClose: () => void; onCreated: (created: Created) => void }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  const [cut, setCut] = useState(true);
  const [chosen, setChosen] = useState<ReadonlySet<Right>>(new Set(["jobs:read"]));
  const made = useAct({
    run: () =>
      create({
        name: name.trim(),
        scopes: cut ? rights.filter((right) => chosen.has(right)) : null,
        expires_in: days === "" ? null : Number(days) * DAY,
      }),
    done: null,
    touches: [touches],
    after: onCreated,
  });
  const toggle = (right: Right) =>
    setChosen(new Set(chosen.has(right) ? [...chosen].filter((one) => one !== right) : [...chosen, right]));
  return (
    <Confirm
      open
      title="New token"
      action="Create"
      onClose={onClose}
      busy={made.isPending}
      error={made.error}
      disabled={name.trim() === "" || (cut && chosen.size === 0)}
      onConfirm={() => made.mutate()}
    >
      <Input
        label="What it is for"
        required
        maxLength={200}
        placeholder="nightly import"
        value={name}
        onText={setName}
      />
      <Select label="Good for" value={days} onText={setDays}>
        {LIVES.map(([value, label]) => (
          <option key={label} value={value ?? ""}>
            {label}
          </option>
        ))}
      </Select>
      <fieldset className="flex flex-col gap-2">
        <legend className="mb-2 text-xs font-medium text-muted">What it may</legend>
        <Select
          label="Rights"
          hideLabel
          value={cut ? "some" : "all"}
          onChange={(event) => setCut(event.target.value === "some")}
        >
          <option value="some">Only what is chosen here</option>
          <option value="all">All rights of its user, now and later</option>
        </Select>
        {cut &&
          rights.map((right) => (
            <Checkbox
              key={right}
              label={`${RIGHT_NAMES[right]} (${right})`}
              checked={chosen.has(right)}
              onCheck={() => toggle(right)}
            />
          ))}
      </fieldset>
    </Confirm>
  );
}

function Secret({ created: { token, secret }, onClose }: { created: Created; onClose: () => void }) {
  return (
    <Dialog open stays title={`The token ${token.name}`} onClose={onClose}>
      <p className="text-sm">Copy it now: it is shown only once.</p>
      <Code text={secret} label="The token's secret" />
      <div className="flex justify-end gap-2">
        <CopyButton text={secret} label="Copy" done="The token was copied." />
        <Button look="primary" onClick={onClose}>
          Done
        </Button>
      </div>
    </Dialog>
  );
}
