import { useMutation, useQueryClient } from "@tanstack/react-query";
import { toast } from "../ui";

interface Act<Variables, Result> {
  run: (variables: Variables) => Promise<Result>;
  /** What to say when it is done; null: nothing. */
  done: string | null | ((result: Result, variables: Variables) => string | null);
  /** Below which keys everything is asked for anew. */
  touches: readonly (readonly unknown[])[];
  /** What happens then, such as closing the dialog that asked. */
  after?: (result: Result) => void;
}

/** Something that a person does: says that it is done, and shows what became of it. Its error is the caller's to show. */
export function useAct<Variables = void, Result = unknown>({ run, done, touches, after }: Act<Variables, Result>) {
  const queries = useQueryClient();
  return useMutation<Result, Error, Variables>({
    mutationFn: run,
    onSuccess: (result, variables) => {
      const said = typeof done === "function" ? done(result, variables) : done;
      if (said !== null) toast(said);
      for (const queryKey of touches) void queries.invalidateQueries({ queryKey });
      after?.(result);
    },
  });
}
