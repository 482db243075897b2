import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { written } from "../../api/json";
import { jobQuery } from "../../api/queries";
import { Confirm, Dialog, ErrorState, Skeleton, short, Textarea } from "../../ui";
import { parametersOf } from "./parameters";
import { type Letter, touchedByDeeds } from "./queries";

interface Props {
  letter: Pick<Letter, "job_id" | "job_type">;
  organization: string;
  onClose: () => void;
}

/** Runs one dead letter again with other parameters. */
export function EditAndRetry({ letter, organization, onClose }: Props) {
  const job = useQuery(jobQuery(organization, letter.job_id));
  const title = `Edit and retry ${letter.job_type} ${short(letter.job_id)}`;
  if (job.data && !job.data.payload_hidden)
    return (
      <Editor
        title={title}
        text={written(job.data.parameters, true)}
        letter={letter}
        organization={organization}
        onClose={onClose}
      />
    );
  return (
    <Dialog open title={title} onClose={onClose}>
      {job.error ? (
        <ErrorState error={job.error} onRetry={() => void job.refetch()} />
      ) : job.data ? (
        <p className="text-sm">
          You may not see this job's parameters, so you can't edit them. An admin of the organization can.
        </p>
      ) : (
        <Skeleton />
      )}
    </Dialog>
  );
}

function Editor({ title, text, letter, organization, onClose }: Props & { title: string; text: string }) {
  const [edited, setEdited] = useState(text);
  const parameters = parametersOf(edited);
  const retry = useAct({
    run: (value: Record<string, unknown>) =>
      ask(
        api.POST("/api/v1/organizations/{organization}/dead-letters/{job}/retry", {
          params: { path: { organization, job: letter.job_id } },
          body: { parameters: value },
        }),
      ),
    done: (
      <>
        The job will run again, with these parameters.{" "}
        <Link
          to="/o/$organization/jobs/$job"
          params={{ organization, job: letter.job_id }}
          className="text-accent hover:underline"
        >
          Show it
        </Link>
      </>
    ),
    touches: touchedByDeeds(organization),
    after: onClose,
  });
  return (
    <Confirm
      open
      wide
      title={title}
      action="Retry with these"
      onClose={onClose}
      busy={retry.isPending}
      error={retry.error}
      disabled={typeof parameters === "string"}
      onConfirm={() => typeof parameters !== "string" && retry.mutate(parameters)}
    >
      <Textarea
        label="Parameters"
        hint="As JSON. A secret that reads [redacted] stays as it is."
        error={typeof parameters === "string" ? parameters : null}
        className="min-h-56 font-mono text-xs"
        spellCheck={false}
        value={edited}
        onText={setEdited}
      />
    </Confirm>
  );
}
