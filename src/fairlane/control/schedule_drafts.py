"""What a schedule is to be, before it is stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fairlane.control.batch import Submission
from fairlane.control.ticks import submission
from fairlane.domain import schedules as domain
from fairlane.domain.schedules import Missed, Timetable
from fairlane.domain.statuses import Priority


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
        """Its ticks; `start` where none is given.

        Raises:
            ConfigurationError
        """
        return domain.timetable(cron=self.cron, every=self.every, time_zone=self.time_zone, start=self.start or start)

    def submission(self, tick: datetime | None, job_id: UUID, parameters: Mapping[str, Any]) -> Submission:
        """The job of a tick, or one beside them."""
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
        """Its columns, but for parameters and what it has come to."""
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
