import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { within } from "../../api/queries";
import { Confirm, Input, Mono, plural } from "../../ui";
import { countFitting } from "../jobs/bulk";
import { paceOf, readyAfter, shareOf } from "./pace";
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
  const { fingerprint, job_type } = group;
  const fitting = useQuery({
    queryKey: ["fitting", organization, "retry", fingerprint, job_type],
    queryFn: () => countFitting(organization, "retry", { fingerprint, ...(job_type && { job_type }) }),
    gcTime: 0,
    staleTime: 0,
  });
  const matching = fitting.data?.matching;
  const isCapped = fitting.data?.matching_is_capped ?? false;
  const retry = useAct({
    run: (per_second: number) =>
      ask(
        api.POST("/api/v1/organizations/{organization}/dead-letter-groups/{fingerprint}/retry", {
          params: { path: { organization, fingerprint } },
          body: { per_second, ...(job_type && { job_type }) },
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
      title={`Retry ${group.error_type}?`}
      action={matching === undefined ? "Retry" : `Retry ${plural(matching, "job", "jobs", isCapped)}`}
      onClose={onClose}
      busy={retry.isPending}
      error={retry.error ?? fitting.error}
      disabled={pace === null || !matching}
      onConfirm={() => pace !== null && retry.mutate(pace)}
    >
      <p aria-live="polite">
        {matching === undefined ? (
          "Counting…"
        ) : (
          <>
            {shareOf(matching, group.count, isCapped)} {job_type ? <Mono>{job_type}</Mono> : "jobs of every type"} that
            failed with this <Mono>{group.error_type}</Mono>{" "}
            {matching === 0
              ? "can be retried by you, by themselves."
              : "are queued again, with a fresh count of retries. A type whose circuit breaker is open lets them wait for its trial."}
          </>
        )}
      </p>
      <p className={matching !== undefined && !isCapped && matching < group.count ? "text-warn" : "text-xs text-muted"}>
        Members retry their own jobs, admins all. Jobs that went down with a parent follow when the parent is retried.
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
        hint={
          pace !== null &&
          `The last one becomes ready after ${readyAfter(matching ?? group.count, group.count, isCapped, pace)}.`
        }
      />
    </Confirm>
  );
}
