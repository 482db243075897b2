"""One emit for many subscribers."""

import logging
from collections.abc import Sequence

from fairlane.domain.events import Emit, Event, hears
from fairlane.domain.texts import printable

_log = logging.getLogger("fairlane")


class Fanout:
    """Hands every event to every subscriber. One that raises is logged and does not disturb the others."""

    def __init__(self, subscribers: Sequence[Emit]) -> None:
        self._subscribers = tuple(subscribers)
        self._asks = tuple(map(hears, self._subscribers))

    def __call__(self, event: Event) -> None:
        """Emit."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - whatever a subscriber does wrong stays with it
                _log.exception("A subscriber failed on %s.", printable(type(event).__name__))

    def hears(self, kind: type[Event]) -> bool:
        """Return True if any of them wants to be told of such events now."""
        for asks in self._asks:  # noqa: SIM110 - asked for each job, and `any` takes three times as long
            if asks(kind):
                return True
        return False

    def and_also(self, *more: Emit) -> "Fanout":
        """Return the same with more subscribers, which are told first: none of the others holds them up."""
        return Fanout((*more, *self._subscribers))
