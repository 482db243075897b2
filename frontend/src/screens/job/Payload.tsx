import { useQuery } from "@tanstack/react-query";
import type { Job } from "../../api/queries";
import { Card, Code, CopyButton, Skeleton } from "../../ui";
import { Hidden } from "./Failure";
import { resultQuery } from "./queries";

/** What the job was submitted with. */
export function Parameters({ job }: { job: Job }) {
  const text = JSON.stringify(job.parameters, null, 2);
  return (
    <Card title="Parameters" actions={!job.payload_hidden && <CopyButton text={text} />}>
      {job.payload_hidden ? <Hidden what="What it was submitted with" /> : <Code text={text} label="Parameters" />}
    </Card>
  );
}

/** What its handler returned. */
export function ResultValue({ job }: { job: Job }) {
  const isDone = job.status === "completed";
  const { data, isLoading } = useQuery({ ...resultQuery(job.organization, job.id), enabled: isDone });
  if (isDone && isLoading)
    return (
      <Card title="Result">
        <Skeleton rows={3} className="p-3" />
      </Card>
    );
  if (!isDone || !data) return null;
  if (!data.payload_hidden && data.value === null) return null;
  const text = JSON.stringify(data.value, null, 2);
  return (
    <Card title="Result" actions={!data.payload_hidden && <CopyButton text={text} />}>
      {data.payload_hidden ? <Hidden what="What it returned" /> : <Code text={text} label="Result" />}
    </Card>
  );
}
