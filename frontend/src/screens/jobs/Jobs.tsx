import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { jobsQuery, type ListedJob } from "../../api/queries";
import { useRefetch } from "../../live/hooks";
import { useMay, useOrganization } from "../../shell/access";
import {
  Button,
  Card,
  count,
  cx,
  EmptyState,
  Page,
  Pager,
  plural,
  Table,
  useChosen,
  useNow,
  useSteady,
} from "../../ui";
import { SubmitDialog } from "../submit/SubmitDialog";
import { Bulk } from "./Bulk";
import { BulkActions } from "./BulkActions";
import { Counts } from "./Counts";
import { COLUMNS } from "./columns";
import { Filters } from "./Filters";
import { filterOf, isEmpty, type JobsSearch } from "./filter";
import { untilNextLook } from "./looks";
import { Views } from "./Views";
import { isWaiting } from "./waits";

/** The organization's jobs, as the address filters and orders them. */
export function Jobs() {
  const organization = useOrganization();
  const search = useSearch({ from: "/o/$organization/jobs" });
  const navigate = useNavigate({ from: "/o/$organization/jobs" });
  const [begun, setBegun] = useState<readonly string[]>([]); // bulk actions
  const [isSubmitting, setSubmitting] = useState(false);
  const maySubmit = useMay("jobs:submit");
  const mayChange = useMay("jobs:change");
  const filter = filterOf(search, Math.max(useNow(), Date.now()));
  const every = useRefetch();
  const found = useQuery({
    ...jobsQuery(organization, filter, { cursor: search.cursor, order: search.order ?? "newest" }),
    // No event of a waiting job tells that what holds it has changed: a pause, a worker that is gone.
    refetchInterval: ({ state }) => every || (state.data?.items.some(isWaiting) ? untilNextLook(state) : false),
    placeholderData: keepPreviousData,
  });
  const steady = useSteady(JSON.stringify([organization, search, found.isPlaceholderData]), found.data?.items, idOf);
  const [chosen, setChosen] = useChosen(steady.rows?.map(idOf));
  const [isPointedAt, setPointedAt] = useState(false);
  const choose = (next: ReadonlySet<string>) => {
    setChosen(next);
    if (next.size > 0) steady.hold();
    else if (!isPointedAt) steady.release();
  };
  const point = (isThere: boolean) => {
    setPointedAt(isThere);
    if (isThere) steady.hold();
    else if (chosen.size === 0) steady.release();
  };
  const area = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // Looked for everywhere: what is gone once it was clicked, above the rows or among them, is never left.
    const look = ({ target }: PointerEvent) => {
      const isThere = target instanceof Element && !!area.current?.contains(target) && target.closest("tbody") !== null;
      if (isThere !== isPointedAt) point(isThere);
    };
    document.addEventListener("pointermove", look);
    return () => document.removeEventListener("pointermove", look);
  });
  const go = (next: JobsSearch, replace = false) => void navigate({ search: next, replace });
  const open = (job: ListedJob) =>
    void navigate({ to: "/o/$organization/jobs/$job", params: { organization, job: job.id } });
  const page = found.data;
  return (
    <Page
      title="Jobs"
      actions={
        <>
          <Views search={search} onChoose={go} />
          {maySubmit && (
            <Button look="primary" onClick={() => setSubmitting(true)}>
              Submit a job
            </Button>
          )}
        </>
      }
    >
      <Counts organization={organization} search={search} filter={filter} onChoose={go} />
      <BulkActions organization={organization} begun={begun} />
      <Card flush>
        <Filters search={search} onChange={go} />
        {mayChange && (
          <Bulk
            organization={organization}
            filter={filter}
            search={search}
            chosen={chosen}
            onDone={() => choose(new Set())}
            onBegun={(action) => setBegun((before) => [...before, action])}
          />
        )}
        <div ref={area} onPointerLeave={() => point(false)}>
          <div className="sticky top-1 z-10 flex h-0 items-start justify-end pr-3 sm:justify-center">
            {/* Hidden and not gone: of what is removed below the pointer nobody is told that it was left. */}
            <Button small className={cx("shadow", steady.waiting === 0 && "invisible")} onClick={steady.renew}>
              {count(steady.waiting)} new
            </Button>
          </div>
          <Table
            caption="Jobs"
            columns={COLUMNS}
            rows={steady.rows}
            rowKey={idOf}
            source={found}
            onOpen={open}
            {...(mayChange && { chosen, onChoose: choose })}
            empty={
              isEmpty(search) ? (
                <EmptyState title="No jobs yet">What the application submits appears here.</EmptyState>
              ) : (
                <EmptyState
                  title="No job fits this filter"
                  action={<Button onClick={() => go({})}>Show all jobs</Button>}
                />
              )
            }
          />
        </div>
        {page && (
          <Pager
            first={search.cursor === undefined}
            next={page.next_cursor}
            onFirst={() => go(withoutCursor(search))}
            onNext={(cursor) => go({ ...search, cursor })}
          >
            {plural(page.total, "job", "jobs", page.total_is_capped)}
            {page.searched_newest ? `; the text was looked for in the newest ${count(page.searched_newest)}` : ""}
          </Pager>
        )}
      </Card>
      {isSubmitting && <SubmitDialog organization={organization} onClose={() => setSubmitting(false)} />}
    </Page>
  );
}

const idOf = (job: ListedJob) => job.id;

function withoutCursor({ cursor: _, ...search }: JobsSearch): JobsSearch {
  return search;
}
