/** What of the events everybody should hear of, whatever they look at. Pure. */
import { count } from "../ui/format";
import type { Event } from "./events";

export function alertOf(event: Event): string | null {
  switch (event.name) {
    case "dead_letter_alert":
      return `${event.organization} has ${count(event.depth)} dead letters that nobody has looked at.`;
    case "queue_limit_warning":
      return `${event.organization} has ${count(event.live)} live jobs, and no more than ${count(event.limit)} are let in.`;
    default:
      return null;
  }
}
