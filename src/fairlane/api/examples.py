"""Answers as the OpenAPI document shows them, where what it puts together itself would have nothing in it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_jsonable_python

from fairlane.api.representations import EXAMPLE_ID, EXAMPLE_TIME
from fairlane.domain.metrics import Metrics, SlowJob, Spread
from fairlane.domain.statuses import PASSING, JobStatus, Priority

_ENDED: Final = {JobStatus.COMPLETED: 180, JobStatus.DEAD_LETTER: 2}
_METRICS: Final = Metrics(
    jobs_by_status={status: _ENDED.get(status, 0) for status in JobStatus if status not in PASSING},
    queue_depth_by_priority=dict.fromkeys(Priority, 0),
    oldest_queued_seconds=None,
    dead_letter_depth=2,
    workers=None,
    minutes=60,
    throughput_per_minute=3.2,
    wait_seconds=Spread(average=0.4, p95=1.7),
    processing_seconds=Spread(average=2.3, p95=8.1),
    attempts_by_type={"report.pdf": 150, "mail.send": 40},
    processing_seconds_by_type={"report.pdf": Spread(2.8, 9.3), "mail.send": Spread(0.425, 1.1)},
    failure_rate_by_type={"report.pdf": 0.06, "mail.send": 0.0},
    slowest=(SlowJob(UUID(EXAMPLE_ID), "acme", "report.pdf", datetime.fromisoformat(EXAMPLE_TIME), 14.2),),
)


# By the operation that answers so.
EXAMPLES: Final[Mapping[str, Any]] = {
    "getMetrics": to_jsonable_python(_METRICS),
    "getMetricsOfAll": to_jsonable_python(replace(_METRICS, workers=4)),
}
