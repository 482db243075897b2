import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { live } from "./client";
import { apply, refresh } from "./effects";
import type { Event } from "./events";
import { type Phase, POLL } from "./phase";

export function usePhase(): Phase {
  return useSyncExternalStore(live.observe, () => live.phase);
}

/**
 * The `refetchInterval` of what events keep fresh: none while they come, else five seconds, and `times` as long for
 * what costs more.
 */
export function useRefetch(times = 1): number | false {
  return usePhase() === "live" ? false : POLL * times;
}

/** Keep all that is shown of an organization fresh; `onEvent` hears what happens in it, too. */
export function useOrganizationEvents(organization: string, onEvent?: (event: Event) => void): void {
  const queries = useQueryClient();
  useEffect(
    () =>
      live.watch(
        { organization },
        {
          onEvent: (event) => {
            apply(queries, event);
            onEvent?.(event);
          },
          onReset: () => refresh(queries, organization),
          onRevoked: () => refresh(queries, organization),
        },
      ),
    [organization, queries, onEvent],
  );
}

/** Keep all that operators are shown fresh. */
export function useOperatorEvents(onEvent?: (event: Event) => void): void {
  const queries = useQueryClient();
  useEffect(() => {
    const anew = () => void queries.invalidateQueries({ queryKey: ["operator"] });
    return live.watch({ operator: true }, { onEvent: (event) => onEvent?.(event), onReset: anew, onRevoked: anew });
  }, [queries, onEvent]);
}
