/** What the palette offers for a text. Pure. */
import type { Entry } from "./menu";

export interface Choice {
  kind: string;
  label: string;
  to: string;
  params: Record<string, string>;
  search?: Record<string, string>;
}

interface Known {
  entries: readonly Entry[];
  organization: string | null;
  isOperator: boolean;
  organizations: readonly { id: string; name: string }[];
  /** Jobs that were looked for by a part of their id. */
  jobs: readonly { id: string; job_type: string }[];
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The part of a job's id that a text is, as lists show its end; null: it is none that tells jobs apart. */
export function partOfId(text: string): string | null {
  const digits = text.trim().toLowerCase();
  return /^[0-9a-f][0-9a-f-]{7,34}$/.test(digits) ? digits : null;
}

export function matching(text: string, known: Known): Choice[] {
  const wanted = text.trim().toLowerCase();
  const places = [...screens(known), ...organizations(known)];
  const fitting = places.filter((choice) => fits(`${choice.label} ${choice.params.organization ?? ""}`, wanted));
  const found = jobs(text.trim(), known);
  return UUID.test(text.trim()) ? found : [...fitting.slice(0, 30), ...found];
}

function screens({ entries, organization }: Known): Choice[] {
  return entries.map(({ label, to }) => ({ kind: "Screen", label, to, params: { organization: organization ?? "" } }));
}

function organizations({ organizations: all, organization, isOperator }: Known): Choice[] {
  const seen = new Set<string | null>([organization]);
  const found: Choice[] = [];
  for (const { id, name } of all) {
    if (seen.has(id)) continue;
    seen.add(id);
    const label = name && name !== id ? `${name} (${id})` : id;
    found.push({ kind: "Organization", label, to: "/o/$organization", params: { organization: id } });
  }
  if (isOperator && organization !== null)
    found.push({ kind: "Operator", label: "All organizations", to: "/operator", params: {} });
  return found;
}

function jobs(text: string, { organization, jobs: found }: Known): Choice[] {
  if (organization === null || text === "") return [];
  if (UUID.test(text))
    return [
      { kind: "Job", label: text, to: "/o/$organization/jobs/$job", params: { organization, job: text.toLowerCase() } },
    ];
  const [job, ...others] = partOfId(text) === null ? [] : found;
  if (job && others.length === 0)
    return [
      {
        kind: "Job",
        label: `${job.job_type} ${job.id}`,
        to: "/o/$organization/jobs/$job",
        params: { organization, job: job.id },
      },
    ];
  return [
    {
      kind: "Jobs",
      label: `Jobs with “${text}”`,
      to: "/o/$organization/jobs",
      params: { organization },
      search: { text },
    },
  ];
}

/** Whether all words of the text stand in the label, in any order. */
function fits(label: string, wanted: string): boolean {
  const lower = label.toLowerCase();
  return wanted.split(/\s+/).every((word) => lower.includes(word));
}
