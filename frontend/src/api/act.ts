import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef } from "react";
import { sentence, toast } from "../ui";
import { again } from "./again";

interface Act<Variables, Result> {
  run: (variables: Variables) => Promise<Result>;
  /** What to say when it is done; null: nothing. */
  done: ReactNode | ((result: Result, variables: Variables) => ReactNode);
  /** Below which keys everything is asked for anew. */
  touches: readonly (readonly unknown[])[];
  /** What happens then, such as closing the dialog that asked. */
  after?: (result: Result) => unknown;
  /** Whether a corner says its error, as there is no dialog or form that does. */
  toastsError?: boolean;
}

/**
 * Something that a person does: says that it is done, and shows what became of it. Its error is the caller's to show,
 * unless `toastsError`; and where that one is gone by then, as a dialog that was closed, a corner says it, too.
 */
export function useAct<Variables = void, Result = unknown>(act: Act<Variables, Result>) {
  const { run, done, touches, after, toastsError = false } = act;
  const queries = useQueryClient();
  const isShown = useRef(true);
  useEffect(() => {
    isShown.current = true;
    return () => {
      isShown.current = false;
    };
  }, []);
  return useMutation<Result, Error, Variables>({
    mutationFn: run,
    onSuccess: (result, variables) => {
      const said = typeof done === "function" ? done(result, variables) : done;
      if (said !== null) toast(said);
      for (const queryKey of touches) void again(queries, queryKey);
      return after?.(result);
    },
    onError: (error) => {
      if (toastsError || !isShown.current) toast(sentence(error), { bad: true });
    },
  });
}
