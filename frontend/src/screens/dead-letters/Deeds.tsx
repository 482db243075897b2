/** What can be done with the dead letters that somebody chose. */
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { Confirm, plural, Textarea } from "../../ui";
import { touchedByDeeds } from "./queries";

export type Deed = "retry" | "resolved" | "ignored" | "delete";

interface Props {
  ids: string[];
  organization: string;
  onClose: () => void;
  /** They are no longer chosen. */
  onDone: () => void;
}

interface Outcome {
  changed: number;
  refused: Schema["Refused"][];
}

function useDeed<Variables>(
  organization: string,
  verb: string,
  onDone: () => void,
  run: (variables: Variables) => Promise<Outcome>,
) {
  return useAct({
    run,
    done: ({ changed, refused }: Outcome) =>
      refused.length === 0
        ? `${plural(changed, "job")} ${verb}.`
        : `${plural(changed, "job")} ${verb}, ${refused.length} not: ${refused[0]?.detail}`,
    touches: touchedByDeeds(organization),
    after: onDone,
  });
}

export function RetrySome({ ids, organization, onClose, onDone }: Props) {
  const retry = useDeed(organization, "will run again", onDone, async () => {
    const params = { path: { organization } };
    const { retried, refused } = await ask(
      api.POST("/api/v1/organizations/{organization}/dead-letters/retry", { params, body: { ids } }),
    );
    return { changed: retried, refused };
  });
  return (
    <Confirm
      open
      title={`Retry ${plural(ids.length, "job")}?`}
      action="Retry"
      onClose={onClose}
      busy={retry.isPending}
      error={retry.error}
      onConfirm={() => retry.mutate(undefined)}
    >
      <p>
        They are queued again at once, with a fresh count of retries. What they took down with them waits for them
        again.
      </p>
    </Confirm>
  );
}

export function Decide({
  ids,
  organization,
  resolution,
  onClose,
  onDone,
}: Props & { resolution: "resolved" | "ignored" }) {
  const [note, setNote] = useState("");
  const decide = useDeed(organization, resolution, onDone, () =>
    ask(
      api.POST("/api/v1/organizations/{organization}/dead-letters/resolution", {
        params: { path: { organization } },
        body: { ids, resolution, note: note.trim() || null },
      }),
    ),
  );
  return (
    <Confirm
      open
      title={
        resolution === "resolved"
          ? `Mark ${plural(ids.length, "job")} as resolved`
          : `Ignore ${plural(ids.length, "job")}`
      }
      action={resolution === "resolved" ? "Mark as resolved" : "Ignore"}
      onClose={onClose}
      busy={decide.isPending}
      error={decide.error}
      onConfirm={() => decide.mutate(undefined)}
    >
      <p>
        {resolution === "resolved" ? "The cause was fixed in another way." : "Nothing needs to be done."} They can still
        be retried later.
      </p>
      <Textarea label="Note" hint="For later readers." maxLength={1000} value={note} onText={setNote} />
    </Confirm>
  );
}

export function Delete({ ids, organization, onClose, onDone }: Props) {
  const remove = useDeed(organization, "deleted", onDone, () =>
    ask(
      api.POST("/api/v1/organizations/{organization}/dead-letters/deletion", {
        params: { path: { organization } },
        body: { ids },
      }),
    ),
  );
  return (
    <Confirm
      open
      danger
      title={`Delete ${plural(ids.length, "job")}?`}
      action={`Delete ${plural(ids.length, "job")}`}
      onClose={onClose}
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate(undefined)}
    >
      <p>The jobs go with their parameters, logs and files. This can't be undone.</p>
    </Confirm>
  );
}
