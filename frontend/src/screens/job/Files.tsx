import { useQuery } from "@tanstack/react-query";
import { address } from "../../api/client";
import type { Job } from "../../api/queries";
import { Card, size, Trouble } from "../../ui";
import { Hidden } from "./Failure";
import { filesQuery } from "./queries";

/** The files that the job left; they come as downloads, whatever they are. */
export function Files({ job }: { job: Job }) {
  const found = useQuery({ ...filesQuery(job.organization, job.id), enabled: job.attempt > 0 });
  const { data, error } = found;
  if (!error && (!data || (!data.payload_hidden && data.artifacts?.length === 0))) return null;
  return (
    <Card title="Files">
      <Trouble source={found} className="mb-3" />
      {data?.payload_hidden && <Hidden what="What it left" />}
      <ul className="flex flex-col gap-2 text-sm">
        {data?.artifacts?.map((file) => (
          <li key={file.name} className="flex items-baseline justify-between gap-3">
            <a
              href={address("organizations", job.organization, "jobs", job.id, "artifacts", ...file.name.split("/"))}
              download
              className="min-w-0 break-words text-accent hover:underline"
            >
              {file.name}
            </a>
            <span className="shrink-0 text-xs text-muted">{size(file.size)}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
