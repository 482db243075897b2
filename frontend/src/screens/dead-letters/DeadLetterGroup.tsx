import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useRefetch } from "../../live/hooks";
import { useMay, useOrganization } from "../../shell/access";
import {
  Button,
  Card,
  Code,
  type Column,
  count,
  EmptyState,
  Mono,
  Page,
  Pager,
  plural,
  StatusBadge,
  short,
  Table,
  Tag,
  Time,
  useChosen,
} from "../../ui";
import { BulkActions } from "../jobs/BulkActions";
import { DecidedSelect } from "./DeadLetters";
import { Decide, type Deed, Delete, RetrySome } from "./Deeds";
import { EditAndRetry } from "./EditAndRetry";
import { groupsQuery, type Letter, lettersQuery } from "./queries";
import { RetryGroup } from "./RetryGroup";
import type { Decided, LettersSearch } from "./search";

/** Dead letters with one error, one by one. */
export function DeadLetterGroup() {
  const organization = useOrganization();
  const { fingerprint } = useParams({ from: "/o/$organization/dead-letters/$fingerprint" });
  const search = useSearch({ from: "/o/$organization/dead-letters/$fingerprint" });
  const { decided = "pending", job_type, cursor } = search;
  const navigate = useNavigate();
  const mayChange = useMay("jobs:change");
  const [asked, setAsked] = useState<{ deed: Deed | "retry all"; ids: string[] } | null>(null);
  const [begun, setBegun] = useState<readonly string[]>([]);
  const [edited, setEdited] = useState<Letter | null>(null);
  const every = useRefetch(2);
  const letters = useQuery({ ...lettersQuery(organization, fingerprint, search), refetchInterval: every });
  const [chosen, setChosen] = useChosen(letters.data?.items.map((letter) => letter.job_id));
  const groups = useQuery({ ...groupsQuery(organization, decided), refetchInterval: every });
  const mine = groups.data?.items.find((group) => group.fingerprint === fingerprint);
  const sample = letters.data?.items[0];
  const which = cursor ? "the first one on this page" : "the newest one";
  const total = letters.data?.total ?? 0;
  const go = (next: LettersSearch) => void navigate({ to: ".", search: { ...next, ...(job_type && { job_type }) } });
  const view = decided === "pending" ? {} : { decided };
  const deed = asked?.deed;
  const ask = (deed: Deed | "retry all") => setAsked({ deed, ids: [...chosen] });
  const close = () => setAsked(null);
  const finish = () => {
    close();
    setChosen(new Set());
  };
  const deeds = { ids: asked?.ids ?? [], organization, onClose: close, onDone: finish };
  return (
    <Page
      title={sample?.error_type ?? mine?.error_type ?? "Dead letters"}
      description={
        <Link
          to="/o/$organization/dead-letters"
          params={{ organization }}
          search={view}
          className="text-accent hover:underline"
        >
          ← All dead letters
        </Link>
      }
      actions={
        <>
          <DecidedSelect value={decided} onChange={(next) => go(next === "pending" ? {} : { decided: next })} />
          {mayChange && decided === "pending" && total > 0 && (
            <Button look="primary" onClick={() => ask("retry all")}>
              Retry all {count(total, letters.data?.total_is_capped)}…
            </Button>
          )}
        </>
      }
    >
      {begun.length > 0 && <BulkActions organization={organization} begun={begun} />}
      {job_type && (
        <p className="text-sm text-muted">
          Of type <Mono>{job_type}</Mono>.{" "}
          <Link
            to="/o/$organization/dead-letters/$fingerprint"
            params={{ organization, fingerprint }}
            search={view}
            className="text-accent hover:underline"
          >
            Show all types with this error
          </Link>
        </p>
      )}
      {sample && (
        <div className="flex flex-col gap-1">
          {total > 1 && <p className="text-xs text-muted">For example, in {which}:</p>}
          <Code text={sample.reason} label={`What went wrong, in ${which}`} />
        </div>
      )}
      <Card
        flush
        title={letters.data ? plural(total, "job", "jobs", letters.data.total_is_capped) : "Jobs"}
        actions={mayChange && chosen.size > 0 && <ForChosen number={chosen.size} decided={decided} onDeed={ask} />}
      >
        <Table
          caption="Dead letters with this error"
          columns={columnsOf(organization, mayChange, setEdited)}
          rows={letters.data?.items}
          rowKey={(letter) => letter.job_id}
          source={letters}
          empty={<EmptyState title="None are left here">They were resolved, ignored or retried.</EmptyState>}
          {...(mayChange && { chosen, onChoose: setChosen })}
        />
        <Pager
          first={!cursor}
          next={letters.data?.next_cursor}
          onFirst={() => go(view)}
          onNext={(next) => go({ ...view, cursor: next })}
        />
      </Card>
      {deed === "retry all" && sample && (
        <RetryGroup
          group={{ fingerprint, job_type, error_type: sample.error_type, count: total }}
          organization={organization}
          onClose={close}
          onBegun={(action) => setBegun((before) => [...before, action])}
        />
      )}
      {deed === "retry" && <RetrySome {...deeds} />}
      {(deed === "resolved" || deed === "ignored") && <Decide {...deeds} resolution={deed} />}
      {deed === "delete" && <Delete {...deeds} />}
      {edited && <EditAndRetry letter={edited} organization={organization} onClose={() => setEdited(null)} />}
    </Page>
  );
}

function ForChosen({ number, decided, onDeed }: { number: number; decided: Decided; onDeed: (deed: Deed) => void }) {
  const mayDelete = useMay("jobs:delete");
  return (
    <>
      <span className="text-xs text-muted" aria-live="polite">
        {count(number)} chosen
      </span>
      {decided !== "retried" && (
        <Button small onClick={() => onDeed("retry")}>
          Retry…
        </Button>
      )}
      <Button small onClick={() => onDeed("resolved")}>
        Resolve…
      </Button>
      <Button small onClick={() => onDeed("ignored")}>
        Ignore…
      </Button>
      {mayDelete && (
        <Button small onClick={() => onDeed("delete")}>
          Delete…
        </Button>
      )}
    </>
  );
}

function columnsOf(organization: string, mayChange: boolean, onEdit: (letter: Letter) => void): Column<Letter>[] {
  const columns: Column<Letter>[] = [
    {
      head: "Job",
      wide: true,
      cell: (letter) => (
        <>
          <Link
            to="/o/$organization/jobs/$job"
            params={{ organization, job: letter.job_id }}
            className="font-mono text-xs hover:underline"
            title={letter.job_id}
          >
            {short(letter.job_id)}
          </Link>
          <p
            className="line-clamp-4 text-xs break-words whitespace-normal text-muted sm:line-clamp-2"
            title={letter.reason}
          >
            {letter.reason}
          </p>
        </>
      ),
    },
    { head: "Type", from: "sm", cell: (letter) => letter.job_type },
    { head: "Decided", cell: (letter) => <Decision letter={letter} /> },
    { head: "Failed", cell: (letter) => <Time at={letter.entered_at} /> },
  ];
  if (mayChange)
    columns.push({
      head: "Edit",
      right: true,
      cell: (letter) =>
        letter.parent_deleted ? (
          <span className="text-xs whitespace-normal text-muted">Parent deleted: submit it anew.</span>
        ) : (
          letter.resolution !== "retried" && (
            <Button small onClick={() => onEdit(letter)} aria-label={`Edit and retry ${short(letter.job_id)}`}>
              <span>
                Edit<span className="max-sm:hidden"> and retry</span>…
              </span>
            </Button>
          )
        ),
    });
  return columns;
}

function Decision({ letter }: { letter: Letter }) {
  if (letter.resolution === "pending") return <StatusBadge status="dead_letter" label="Open" />;
  return (
    <span className="inline-flex max-w-full flex-wrap items-center gap-x-2 gap-y-0.5 whitespace-normal">
      <Tag tone={letter.resolution === "ignored" ? "warn" : "good"}>{letter.resolution}</Tag>
      {letter.resolution === "retried" && <StatusBadge status={letter.status} />}
      <span className="text-xs text-muted">
        by {letter.resolved_by ?? "system"} <Time at={letter.resolved_at} />
      </span>
      {letter.note && <span className="text-xs break-words">{letter.note}</span>}
    </span>
  );
}
