import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { maintenanceQuery, meQuery } from "../api/queries";
import { Time } from "../ui";

/** Tells everybody who is signed in that no job starts, by whom and why; nothing while maintenance mode is off. */
export function MaintenanceBanner() {
  const { data: me } = useQuery({ ...meQuery, enabled: false }); // whoever opens a screen asks
  const { data: state } = useQuery({ ...maintenanceQuery, enabled: me !== undefined, refetchInterval: 10_000 });
  if (!me || !state?.is_on) return null;
  return (
    <aside
      aria-label="Maintenance mode"
      className="border-b border-line bg-warn-soft px-4 py-2 text-center text-sm break-words text-warn"
    >
      <span role="status">
        <strong className="font-semibold">Maintenance mode is on:</strong> no job starts, running jobs finish.
      </span>{" "}
      {/* Apart: it would be said anew each second. */}
      <span>
        {state.by} turned it on <Time at={state.since} />
        {state.reason && `: ${state.reason}`}
      </span>
      {me.is_operator && (
        <>
          {" · "}
          <Link to="/operator/workers" className="whitespace-nowrap underline">
            Turn it off
          </Link>
        </>
      )}
    </aside>
  );
}
