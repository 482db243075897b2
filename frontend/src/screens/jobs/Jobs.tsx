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
import { columnsOf } from "./columns";
import { Filters } from "./Filters";
import { filterOf, isEmpty, type JobsSearch } from "./filter";
import { untilNextLook } from "./looks";
import { Views } from "./Views";
import { isWaiting } from "./waits";

/** What holds the rows while the pointer is on it: they, and what is on the way to the button that shows the new ones. */
const HOLDS = "table, [data-news]";

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
  const steady = useSteady({
    name: JSON.stringify([organization, search]),
    rows: found.data?.items,
    isStandIn: found.isPlaceholderData,
    keyOf: idOf,
  });
  const [chosen, setChosen] = useChosen(steady.rows?.map(idOf));
  const [isPointedAt, setPointedAt] = useState(false);
  useEffect(() => steady.hold(isPointedAt || chosen.size > 0));
  const area = useRef<HTMLElement>(null);
  useEffect(() => {
    // Looked for everywhere: what is gone once it was clicked, above the rows or among them, is never left.
    const look = ({ target }: PointerEvent) =>
      setPointedAt(target instanceof Element && !!area.current?.contains(target) && target.closest(HOLDS) !== null);
    document.addEventListener("pointermove", look);
    return () => document.removeEventListener("pointermove", look);
  }, []);
  const renew = () => {
    steady.renew();
    // The button goes, and would take the focus along.
    area.current?.focus({ preventScroll: true });
  };
  const { waiting, gone } = steady;
  const news = [waiting && `${count(waiting)} new`, gone.size && `${count(gone.size)} moved on`].filter(Boolean);
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
            onDone={() => setChosen(new Set())}
            onBegun={(action) => setBegun((before) => [...before, action])}
          />
        )}
        <p className="sr-only" aria-live="polite">
          {news.join(", ")}
        </p>
        <section ref={area} tabIndex={-1} aria-label="List of jobs" onPointerLeave={() => setPointedAt(false)}>
          {/* Below the page's header, which is 3rem high. */}
          <div className="sticky top-14 z-10 flex h-0 items-start justify-end pr-3 sm:justify-center">
            {/* Hidden and not gone: of what is removed below the pointer nobody is told that it was left. */}
            <Button data-news small className={cx("shadow", news.length === 0 && "invisible")} onClick={renew}>
              {news.join(", ")}
            </Button>
          </div>
          <Table
            caption="Jobs"
            columns={columnsOf(gone)}
            rows={steady.rows}
            gone={gone}
            rowKey={idOf}
            source={found}
            onOpen={open}
            {...(mayChange && { chosen, onChoose: setChosen })}
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
        </section>
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
