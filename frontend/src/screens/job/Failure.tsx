import { useQuery } from "@tanstack/react-query";
import { type Job, meQuery } from "../../api/queries";
import { useIsOurs } from "../../shell/access";
import { Card, Code, Time } from "../../ui";
import { causesOf, errorOf } from "./attempts";
import { historyQuery } from "./queries";

/** The last error, with what caused it. */
export function Failure({ job }: { job: Job }) {
  const { data } = useQuery(historyQuery(job.organization, job.id));
  if (job.error_type === null || job.status === "completed") return null;
  const step = errorOf(data?.items ?? []);
  const causes = step?.traceback ? causesOf(step.traceback) : [];
  return (
    <Card
      title="Error"
      actions={
        step && (
          <span className="text-xs text-muted">
            {step.from_status === "running" && `attempt ${step.attempt}, `}
            <Time at={step.at} />
          </span>
        )
      }
    >
      <div className="flex flex-col gap-3 text-sm">
        <p className="break-words whitespace-pre-wrap">
          <span className="font-medium text-bad">{job.error_type}</span>
          {job.error_message !== null && `: ${job.error_message}`}
        </p>
        {job.payload_hidden && <Hidden what="What the error says" />}
        {causes.map((cause, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: causes may say the same, and their order is theirs
          <details key={`${index} ${cause.headline}`} className="rounded-md border border-line">
            <summary className="px-3 py-2 text-sm break-words">
              {cause.link && (
                <span className="mr-1 text-muted">{cause.link === "caused" ? "caused by" : "while handling"}</span>
              )}
              <span className="font-mono text-xs">{cause.headline}</span>
            </summary>
            <Code text={cause.text} label="Traceback" className="rounded-t-none" />
          </details>
        ))}
      </div>
    </Card>
  );
}

/** Stands where payload would, for those who may not see it; what it takes, the page says once. */
export function Hidden({ what }: { what: string }) {
  return <p className="text-sm text-muted">{what} is hidden.</p>;
}

/** What it takes to see what is hidden. */
export function HowToSee() {
  const { data: me } = useQuery(meQuery);
  const isOurs = useIsOurs();
  return (
    <p className="text-sm text-muted">
      Parts of this job are hidden: they need the right <span className="font-mono text-xs">payload:read</span>, which{" "}
      {me?.is_operator
        ? "an operator who has it can give you, at Users."
        : isOurs
          ? "an admin of the organization can give you, at Members."
          : "your application can give you."}
    </p>
  );
}
