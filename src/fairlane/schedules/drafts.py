"""What a schedule is to be, before it is stored."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fairlane.domain import schedules as domain
from fairlane.domain.errors import ConfigurationError
from fairlane.domain.schedules import Missed, Timetable
from fairlane.domain.secrets import restored
from fairlane.domain.statuses import Priority
from fairlane.engine.batch import Submission
from fairlane.schedules.ticks import submission
from fairlane.store.tables import AnyRow


@dataclass(frozen=True, slots=True)
class ScheduleDraft:
    """What a schedule is to be, checked as far as it can be without the database."""

    organization: str
    name: str
    job_type: str
    user: str | None
    cron: str | None
    every: float | None
    time_zone: str
    start: datetime | None
    missed: Missed
    priority: Priority | None
    queue: str | None
    labels: Mapping[str, str]

    def timetable(self, start: datetime) -> Timetable:
        """Return its ticks; `start` where none is given.

        Raises:
            ConfigurationError
        """
        return domain.timetable(cron=self.cron, every=self.every, time_zone=self.time_zone, start=self.start or start)

    def submission(self, tick: datetime | None, job_id: UUID, parameters: Mapping[str, Any]) -> Submission:
        """Return the job of a tick, or one beside them."""
        return submission(
            self.organization,
            self.name,
            self.job_type,
            self.user,
            parameters,
            tick=tick,
            options={"priority": self.priority, "queue": self.queue, "labels": self.labels},
            id=job_id,
        )

    def columns(self, times: Timetable) -> dict[str, Any]:
        """Return its columns, but for parameters and what it has come to."""
        options = {"priority": self.priority, "queue": self.queue, "labels": dict(self.labels)}
        return {
            "job_type": self.job_type,
            "user_id": self.user,
            "options": json.dumps(options, ensure_ascii=False, sort_keys=True),
            "cron": times.cron,
            "every_seconds": times.every,
            "time_zone": times.time_zone,
            "start": times.start,
            "missed": self.missed,
        }

    def plain(
        self,
        before: AnyRow | None,
        given: Mapping[str, Any] | None,
        opened: Callable[[AnyRow], Mapping[str, Any]],
        *,
        keeps: bool,
    ) -> Mapping[str, Any]:
        """Return the parameters with those, or the secrets, that were left out; none of another type's handler.

        Args:
            keeps: whether secrets that are `[redacted]` in those given stay as they were.

        Raises:
            ConfigurationError: they are to stay, and can't be opened.
            InvalidParameters: it is not clear which secret is to stay where.
        """
        if before is None or before.job_type != self.job_type:
            return given or {}
        if given is None:
            return opened(before)
        if not keeps:
            return given
        try:
            was = opened(before)
        except ConfigurationError:
            return given  # they can't be opened any more, and need not be
        kept: Mapping[str, Any] = restored(given, was)
        return kept
