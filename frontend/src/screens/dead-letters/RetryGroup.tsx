import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { within } from "../../api/queries";
import { Confirm, duration, Input, Mono, plural } from "../../ui";
import { lasts, paceOf } from "./pace";
import type { Group } from "./queries";

/** Retries all dead letters with one error, a few each second, so that they do not fail together a second time. */
export function RetryGroup({
  group,
  organization,
  onClose,
  onBegun,
}: {
  /** Without a type: all that have the error, of every type. */
  group: Pick<Group, "fingerprint" | "error_type" | "count"> & { job_type?: string | undefined };
  organization: string;
  onClose: () => void;
  /** It has begun: the id of its bulk action. */
  onBegun: (action: string) => void;
}) {
  const [text, setText] = useState("10");
  const pace = paceOf(text);
  const retry = useAct({
    run: (per_second: number) =>
      ask(
        api.POST("/api/v1/organizations/{organization}/dead-letter-groups/{fingerprint}/retry", {
          params: { path: { organization, fingerprint: group.fingerprint } },
          body: { per_second, ...(group.job_type && { job_type: group.job_type }) },
        }),
      ),
    done: null, // the page tells of it
    touches: [within(organization)],
    after: ({ id }) => {
      onBegun(id);
      onClose();
    },
  });
  return (
    <Confirm
      open
      title={`Retry ${plural(group.count, "job")}?`}
      action={`Retry ${plural(group.count, "job")}`}
      onClose={onClose}
      busy={retry.isPending}
      error={retry.error}
      disabled={pace === null}
      onConfirm={() => pace !== null && retry.mutate(pace)}
    >
      <p>
        All {group.job_type ? <Mono>{group.job_type}</Mono> : "jobs of every type"} that failed with this{" "}
        <Mono>{group.error_type}</Mono> are queued again, with a fresh count of retries. A type whose circuit breaker is
        open lets them wait for its trial.
      </p>
      <p className="text-xs text-muted">
        Members retry their own jobs, admins all. What went down with its parent follows when that is retried.
      </p>
      <Input
        label="Jobs each second"
        type="number"
        inputMode="decimal"
        min={0.001}
        max={100_000}
        step="any"
        required
        value={text}
        onText={setText}
        error={pace === null ? "A number above 0." : null}
        hint={pace !== null && `The last one becomes ready after ${duration(lasts(group.count, pace))}.`}
      />
    </Confirm>
  );
}
