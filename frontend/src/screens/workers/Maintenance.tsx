import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { maintenanceQuery } from "../../api/queries";
import { Button, Confirm, Input } from "../../ui";

const TOUCHES = [maintenanceQuery.queryKey, ["operator"]];

/** Turns maintenance mode on and off. */
export function MaintenanceSwitch() {
  const { data: state } = useQuery(maintenanceQuery);
  const [asking, setAsking] = useState(false);
  const off = useAct({
    run: () => ask(api.DELETE("/api/v1/operator/maintenance")),
    done: "Maintenance mode is off; jobs start again.",
    touches: TOUCHES,
    toastsError: true,
  });
  if (!state) return null;
  if (state.is_on)
    return (
      <Button look="primary" busy={off.isPending} onClick={() => off.mutate()}>
        Turn maintenance mode off
      </Button>
    );
  return (
    <>
      <Button onClick={() => setAsking(true)}>Maintenance mode…</Button>
      {asking && <TurnOn onClose={() => setAsking(false)} />}
    </>
  );
}

function TurnOn({ onClose }: { onClose: () => void }) {
  const [reason, setReason] = useState("");
  const on = useAct({
    run: () => ask(api.PUT("/api/v1/operator/maintenance", { body: { reason } })),
    done: "Maintenance mode is on; no job starts.",
    touches: TOUCHES,
    after: onClose,
  });
  return (
    <Confirm
      open
      title="Turn maintenance mode on?"
      action="Turn on"
      onClose={onClose}
      busy={on.isPending}
      error={on.error}
      onConfirm={() => on.mutate()}
    >
      <p>
        No job of any organization starts until it is turned off. Running jobs finish. New jobs are accepted, and wait.
      </p>
      <Input
        label="Reason"
        hint="Everybody who is signed in reads it: name no organization in it."
        maxLength={1000}
        value={reason}
        onText={setReason}
      />
    </Confirm>
  );
}
