import { useQueryClient } from "@tanstack/react-query";
import { useAct } from "../../api/act";
import { type Job, within } from "../../api/queries";

export interface Changing {
  job: Job;
  onClose: () => void;
}

/** Something that is done to the job; the server's answer, the job as it is then, is shown at once. */
export function useChange(
  { job: { organization, id }, onClose }: Changing,
  run: () => Promise<Job>,
  done: string | ((made: Job) => string),
  toastsError = false,
) {
  const queries = useQueryClient();
  return useAct({
    run: async () => {
      const made = await run();
      queries.setQueryData(within(organization, "job", id), made);
      return made;
    },
    done,
    touches: [within(organization, "job", id), within(organization, "audit")],
    after: onClose,
    toastsError,
  });
}
