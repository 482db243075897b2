import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore } from "react";
import { live } from "./client";
import { admit, apply, begin, refresh, refreshAll } from "./effects";
import type { Event } from "./events";
import { FIRST, type Phase, POLL } from "./phase";

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
          onBegin: () => begin(queries, organization),
          onReset: () => refresh(queries, organization),
          onAccess: () => admit(queries, organization),
        },
      ),
    [organization, queries, onEvent],
  );
}

/** Hear what happens in an organization that is kept fresh already. */
export function useHearing(organization: string, onEvent: (event: Event) => void): void {
  useEffect(() => live.watch({ organization }, { onEvent, onReset: () => {} }), [organization, onEvent]);
}

/**
 * Whether it is time to ask for what events keep fresh. One who asks before the events come has to ask again as soon as
 * they do; but nobody is kept waiting for long.
 */
export function useHears(organization: string): boolean {
  const hears = useSyncExternalStore(live.observe, () => live.hears({ organization }));
  const [waitedFor, setWaitedFor] = useState<string | null>(null);
  useEffect(() => {
    const timer = setTimeout(() => setWaitedFor(organization), FIRST);
    return () => clearTimeout(timer);
  }, [organization]);
  return hears || waitedFor === organization;
}

/** Keep all that operators are shown fresh. */
export function useOperatorEvents(onEvent?: (event: Event) => void): void {
  const queries = useQueryClient();
  useEffect(() => {
    const anew = () => refreshAll(queries);
    return live.watch({ operator: true }, { onEvent: (event) => onEvent?.(event), onReset: anew, onAccess: anew });
  }, [queries, onEvent]);
}
