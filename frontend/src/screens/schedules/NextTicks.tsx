import { exact, timeZone, useNow } from "../../ui";
import type { Schedule } from "./draft";
import { tickTime, zonesOf } from "./ticks";

/** The next ticks in the schedule's time zone, and in the reader's where that is another one. */
export function NextTicks({ schedule: { next_ticks, paused_at, time_zone } }: { schedule: Schedule }) {
  const now = useNow();
  const reader = timeZone();
  if (next_ticks.length === 0)
    return <span className="text-muted">{paused_at ? "No ticks while it is paused" : "No ticks any more"}</span>;
  return (
    <div className="flex flex-wrap gap-x-4 gap-y-1 text-xs whitespace-nowrap lg:flex-col xl:flex-row xl:flex-nowrap">
      {zonesOf(time_zone, reader).map((zone, index) => (
        <div key={zone}>
          <p className="text-muted">{index > 0 ? `${zone}, yours` : zone}</p>
          <ul aria-label={`Next ticks in ${zone}`} className="tabular-nums">
            {next_ticks.map((at) => (
              <li key={at}>
                <time dateTime={at} title={exact(new Date(at))}>
                  {tickTime(new Date(at), zone, now)}
                </time>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </div>
  );
}

/** The same where there is little room: when the next one is, for the reader; the others for whoever opens it. */
export function NextTick({ schedule }: { schedule: Schedule }) {
  const now = useNow();
  const [next] = schedule.next_ticks;
  if (next === undefined) return <NextTicks schedule={schedule} />;
  return (
    <details>
      <summary className="cursor-pointer text-muted hover:text-ink">
        Next tick: <span className="text-ink tabular-nums">{tickTime(new Date(next), timeZone(), now)}</span> in{" "}
        {timeZone()}
      </summary>
      <div className="mt-1">
        <NextTicks schedule={schedule} />
      </div>
    </details>
  );
}
