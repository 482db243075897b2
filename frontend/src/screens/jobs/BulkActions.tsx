import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type RefObject, useEffect, useRef, useState } from "react";
import { useAct } from "../../api/act";
import { within } from "../../api/queries";
import { useMay } from "../../shell/access";
import { Button, plural } from "../../ui";
import { bulkQuery, stop } from "./bulk";
import { type BulkAction, isWorking, reasons, titleOf, told, whyPassedOver } from "./told";

const LAST = 1_500; // milliseconds in which a step that was going on when one was stopped may say what it did

/** What goes on with many jobs at once, whoever began it; and what has ended since one looks, until it is hidden. */
export function BulkActions({ organization, begun }: { organization: string; begun: readonly string[] }) {
  const [seen, setSeen] = useState<ReadonlySet<string>>(new Set());
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const { data, refetch } = useQuery(bulkQuery(organization));
  const all = data?.items ?? [];
  const working = all.filter(isWorking).map(({ id }) => id);
  const names = working.join(" ");
  useEffect(() => {
    if (names === "") return;
    setSeen((before) => new Set([...before, ...names.split(" ")]));
    return () => void setTimeout(() => void refetch(), LAST);
  }, [names, refetch]);
  // Where the dialog that began it put the focus: on the button that opened it, or on the page.
  const place = useRef<Element | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: looked at when one begins
  useEffect(() => {
    place.current = document.activeElement;
  }, [begun]);
  const mine = new Set([...seen, ...begun]);
  const shown = all.filter((one) => isWorking(one) || (mine.has(one.id) && !hidden.has(one.id)));
  return (
    <>
      <p className="sr-only" aria-live="polite">
        {shown
          .filter((one) => !isWorking(one))
          .map(told)
          .join(" ")}
      </p>
      {shown.length > 0 && (
        <ul className="flex flex-col gap-2" aria-label="Bulk actions">
          {shown.map((one) => (
            <One
              key={one.id}
              organization={organization}
              one={one}
              isBegunHere={begun.includes(one.id)}
              place={place}
              onHide={() => setHidden((before) => new Set([...before, one.id]))}
            />
          ))}
        </ul>
      )}
    </>
  );
}

interface Props {
  organization: string;
  one: BulkAction;
  isBegunHere: boolean;
  /** What had the focus when the last one began. */
  place: RefObject<Element | null>;
  onHide: () => void;
}

function One({ organization, one, isBegunHere, place, onHide }: Props) {
  const mayChange = useMay("jobs:change");
  const ref = useRef<HTMLLIElement>(null);
  // The button by which it was begun may go with the jobs that it was about. Who does something else by now goes on.
  useEffect(() => {
    const at = document.activeElement;
    if (isBegunHere && (at === document.body || at === place.current)) ref.current?.focus();
  }, [isBegunHere, place]);
  const passedOver = whyPassedOver(one);
  const halt = useAct({
    run: () => stop(organization, one.id),
    done: null,
    touches: [within(organization, "bulk-actions")],
  });
  return (
    <li
      ref={ref}
      tabIndex={-1}
      className="flex flex-wrap items-center gap-3 rounded-lg border border-line bg-surface px-4 py-3 text-sm"
    >
      <div className="min-w-0 flex-1">
        <p className="break-words">
          {told(one)} {one.refused > 0 && `${plural(one.refused, "job")} refused:`}
        </p>
        {one.refusals.length > 0 && (
          <ul className="list-disc pl-5 text-muted">
            {reasons(one.refusals).map((why) => (
              <li key={why} className="break-words">
                {why}
              </li>
            ))}
          </ul>
        )}
        <Retried organization={organization} one={one} />
        {passedOver && <p className="text-xs text-muted">{passedOver}</p>}
        {isWorking(one) && (
          <p className="text-xs text-muted">
            {one.is_waiting
              ? "It waits: no worker has gone on with it lately."
              : "Workers go on with it, also when you close this page."}
          </p>
        )}
        {halt.error && (
          <p role="alert" className="text-bad">
            {halt.error.message}
          </p>
        )}
      </div>
      {isWorking(one) ? (
        mayChange && (
          <Button small busy={halt.isPending} onClick={() => halt.mutate()} aria-label={`Stop ${titleOf(one)}`}>
            Stop
          </Button>
        )
      ) : (
        <Button small look="quiet" onClick={onHide} aria-label={`Hide ${titleOf(one)}`}>
          Hide
        </Button>
      )}
    </li>
  );
}

/** The way to the dead letters of a group that were retried, where it is said how they stand. */
function Retried({ organization, one: { action, filter, changed } }: { organization: string; one: BulkAction }) {
  const { fingerprint, job_type } = filter;
  if (action !== "retry" || typeof fingerprint !== "string" || changed === 0) return null;
  return (
    <Link
      to="/o/$organization/dead-letters/$fingerprint"
      params={{ organization, fingerprint }}
      search={{ decided: "retried", ...(typeof job_type === "string" && { job_type }) }}
      className="text-accent hover:underline"
    >
      See how they stand
    </Link>
  );
}
