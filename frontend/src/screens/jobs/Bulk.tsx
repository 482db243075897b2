import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useAct } from "../../api/act";
import { again } from "../../api/again";
import { type JobFilter, within } from "../../api/queries";
import { Button, Confirm, count, Dialog, plural } from "../../ui";
import { actOnEach, type BulkAction, countFitting, type Outcome, start } from "./bulk";
import type { JobsSearch } from "./filter";

interface Props {
  organization: string;
  filter: JobFilter;
  search: JobsSearch;
  chosen: ReadonlySet<string>;
  onDone: () => void;
  /** A bulk action has begun; its id. */
  onBegun: (action: string) => void;
}

/** More than so many are worked off by their filter, not one by one. */
const FEW = 25;

/** Cancel or retry the chosen jobs, or all that fit the filter; before, it says how many these are. */
export function Bulk({ organization, filter, search, chosen, onDone, onBegun }: Props) {
  const [asked, setAsked] = useState<{ action: BulkAction; ids: string[] | null } | null>(null);
  const statuses = search.status ?? [];
  const isDead = statuses.includes("dead_letter");
  const isLive =
    statuses.length === 0 || statuses.some((one) => one === "pending" || one === "queued" || one === "running");
  const ids = [...chosen];
  const tooMany = ids.length > FEW;
  return (
    <div className="flex flex-wrap items-center gap-2 border-b border-line px-3 py-2 text-sm">
      {ids.length > 0 ? (
        <>
          <span className="font-medium">{count(ids.length)} chosen</span>
          <Button small disabled={tooMany} onClick={() => setAsked({ action: "cancel", ids })}>
            Cancel chosen
          </Button>
          <Button small disabled={tooMany} onClick={() => setAsked({ action: "retry", ids })}>
            Retry chosen
          </Button>
          <Button small look="quiet" onClick={onDone}>
            Choose none
          </Button>
          {tooMany && <span className="text-xs text-muted">Choose {FEW} at most, or filter for all of them.</span>}
        </>
      ) : (
        <>
          <span className="text-xs text-muted">All that fit:</span>
          <Button small disabled={!isLive} onClick={() => setAsked({ action: "cancel", ids: null })}>
            Cancel all…
          </Button>
          <Button
            small
            disabled={!isDead && statuses.length > 0}
            onClick={() => setAsked({ action: "retry", ids: null })}
          >
            Retry dead letters…
          </Button>
        </>
      )}
      {asked && (
        <Act
          organization={organization}
          filter={filter}
          {...asked}
          onBegun={onBegun}
          onClose={() => setAsked(null)}
          onDone={() => {
            setAsked(null);
            onDone();
          }}
        />
      )}
    </div>
  );
}

const WORDS = {
  cancel: { title: "Cancel jobs?", verb: "Cancel", done: "canceled or asked to stop" },
  retry: { title: "Retry dead letters?", verb: "Retry", done: "queued again" },
} as const;

interface ActProps {
  organization: string;
  filter: JobFilter;
  action: BulkAction;
  /** Null: all that fit the filter. */
  ids: string[] | null;
  onClose: () => void;
  /** They were dealt with. */
  onDone: () => void;
  onBegun: (action: string) => void;
}

function Act({ organization, filter, action, ids, onClose, onDone, onBegun }: ActProps) {
  const queries = useQueryClient();
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const abort = useRef(new AbortController());
  useEffect(() => () => abort.current.abort(), []);
  const fitting = useQuery({
    queryKey: ["fitting", organization, action, filter],
    queryFn: () => countFitting(organization, action, filter),
    enabled: ids === null,
    gcTime: 0,
    staleTime: 0,
  });
  const each = useMutation({
    mutationFn: (chosen: readonly string[]) =>
      actOnEach(organization, action, chosen, setOutcome, abort.current.signal),
    onSettled: () => again(queries, within(organization)),
  });
  const all = useAct({
    run: () => start(organization, action, filter),
    done: null, // the page tells of it
    touches: [within(organization)],
    after: ({ id }) => {
      onBegun(id);
      onDone();
    },
  });
  const words = WORDS[action];
  if (each.data) return <Done words={words} outcome={each.data} onClose={onDone} />;
  const matching = ids?.length ?? fitting.data?.matching;
  return (
    <Confirm
      open
      title={words.title}
      action={matching === undefined ? words.verb : `${words.verb} ${plural(matching, "job")}`}
      danger={action === "cancel"}
      busy={each.isPending || all.isPending}
      error={each.error ?? all.error ?? fitting.error}
      disabled={!matching}
      onConfirm={() => (ids === null ? all.mutate() : each.mutate(ids))}
      onClose={onClose}
    >
      <p aria-live="polite">
        {matching === undefined
          ? "Counting…"
          : matching === 0
            ? "No job that fits can be changed so."
            : `${plural(matching, "job", "jobs", fitting.data?.matching_is_capped)} will be changed${ids ? "" : ": all that fit the filter, on all pages"}.`}
      </p>
      {outcome && (
        <p className="text-muted" aria-live="polite">
          {count(outcome.changed)} {words.done} so far…
        </p>
      )}
      <p className="text-xs text-muted">Members change their own jobs, admins all. Every change is in the audit.</p>
    </Confirm>
  );
}

function Done({ words, outcome, onClose }: { words: { done: string }; outcome: Outcome; onClose: () => void }) {
  return (
    <Dialog open title="Done" onClose={onClose}>
      <p className="text-sm">
        {plural(outcome.changed, "job")} {words.done}.
        {outcome.refused > 0 && ` ${plural(outcome.refused, "job")} refused:`}
      </p>
      {outcome.refusals.length > 0 && (
        <ul className="list-disc pl-5 text-sm text-muted">
          {outcome.refusals.map((why) => (
            <li key={why} className="break-words">
              {why}
            </li>
          ))}
        </ul>
      )}
      <div className="flex justify-end">
        <Button look="primary" onClick={onClose}>
          Close
        </Button>
      </div>
    </Dialog>
  );
}
