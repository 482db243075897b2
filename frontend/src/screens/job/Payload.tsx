import { useQuery } from "@tanstack/react-query";
import { written } from "../../api/json";
import type { Job } from "../../api/queries";
import { Card, Code, CopyButton, Skeleton, Trouble } from "../../ui";
import { Hidden } from "./Failure";
import { resultQuery } from "./queries";

/** What the job was submitted with. */
export function Parameters({ job }: { job: Job }) {
  const text = written(job.parameters, true);
  return (
    <Card title="Parameters" actions={!job.payload_hidden && <CopyButton text={text} />}>
      {job.payload_hidden ? <Hidden what="What it was submitted with" /> : <Code text={text} label="Parameters" />}
    </Card>
  );
}

/** What its handler returned. */
export function ResultValue({ job }: { job: Job }) {
  const isDone = job.status === "completed";
  const found = useQuery({ ...resultQuery(job.organization, job.id), enabled: isDone });
  const { data } = found;
  if (!isDone) return null;
  if (!data)
    return (
      <Card title="Result">{found.error ? <Trouble source={found} /> : <Skeleton rows={3} className="p-3" />}</Card>
    );
  if (!data.payload_hidden && data.value === null) return null;
  const text = written(data.value, true);
  return (
    <Card title="Result" actions={!data.payload_hidden && <CopyButton text={text} />}>
      {data.payload_hidden ? <Hidden what="What it returned" /> : <Code text={text} label="Result" />}
    </Card>
  );
}
