import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { jobTypesQuery } from "../../api/queries";
import { useOrganization } from "../../shell/access";
import { Button, Moment, Search, Select } from "../../ui";
import { isEmpty, type JobsSearch, SPAN_NAMES, type Span } from "./filter";

interface Props {
  search: JobsSearch;
  onChange: (search: JobsSearch, replace?: boolean) => void;
}

/** What the list is filtered by; each change goes into the address. */
export function Filters({ search, onChange }: Props) {
  const types = useQuery(jobTypesQuery(useOrganization()));
  const [isOpen, setOpen] = useState(() =>
    Boolean(search.queue ?? search.user ?? search.label?.length ?? search.before),
  );
  const set = (part: Partial<Record<keyof JobsSearch, string | string[] | undefined>>, replace = false) => {
    const { cursor: _, ...rest } = { ...search, ...part };
    onChange(
      Object.fromEntries(
        Object.entries(rest).filter(([, value]) => value !== undefined && value.length > 0),
      ) as JobsSearch,
      replace,
    );
  };
  return (
    <search aria-label="Filter jobs">
      <form
        className="flex flex-col gap-2 border-b border-line p-3"
        onSubmit={(event: FormEvent) => event.preventDefault()}
      >
        <div className="flex flex-wrap gap-2">
          <div className="min-w-48 flex-1">
            <Search
              label="Search"
              hideLabel
              placeholder="Id, type or error…"
              value={search.text}
              onChange={(text) => set({ text }, true)}
            />
          </div>
          <div className="w-40">
            <Select
              label="Job type"
              hideLabel
              value={search.job_type ?? ""}
              onChange={(event) => set({ job_type: event.target.value || undefined })}
            >
              <option value="">All types</option>
              {search.job_type && !types.data?.items.some(({ name }) => name === search.job_type) && (
                <option>{search.job_type}</option>
              )}
              {types.data?.items.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </Select>
          </div>
          <div className="w-40">
            <Select
              label="Submitted"
              hideLabel
              value={search.since ?? ""}
              onChange={(event) => set({ since: event.target.value || undefined, before: undefined })}
            >
              <option value="">Any time</option>
              {(Object.keys(SPAN_NAMES) as Span[]).map((span) => (
                <option key={span} value={span}>
                  {SPAN_NAMES[span]}
                </option>
              ))}
              {search.since && !(search.since in SPAN_NAMES) && (
                <option value={search.since}>Since {search.since}</option>
              )}
            </Select>
          </div>
          <div className="w-36">
            <Select
              label="Order"
              hideLabel
              value={search.order ?? ""}
              onChange={(event) => set({ order: event.target.value || undefined })}
            >
              <option value="">Newest first</option>
              <option value="oldest">Oldest first</option>
            </Select>
          </div>
          <Button aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
            {isOpen ? "Fewer" : "More"}
          </Button>
          {!isEmpty(search) && (
            <Button look="quiet" onClick={() => onChange({})}>
              Clear
            </Button>
          )}
        </div>
        {isOpen && (
          <div className="grid gap-2 sm:grid-cols-2 lg:grid-cols-5">
            <Search label="Queue" value={search.queue} onChange={(queue) => set({ queue }, true)} />
            <Search label="User" value={search.user} onChange={(user) => set({ user }, true)} />
            <Search
              label="Label"
              placeholder="name=value"
              value={search.label?.[0]}
              wrongOf={(text) => (text.includes("=") ? null : "Write it as name=value.")}
              onChange={(label) => set({ label: label === undefined ? undefined : [label] }, true)}
            />
            <Moment label="From" value={search.since} onChange={(since) => set({ since })} />
            <Moment label="Until" value={search.before} onChange={(before) => set({ before })} />
          </div>
        )}
      </form>
    </search>
  );
}
