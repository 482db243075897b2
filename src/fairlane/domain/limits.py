"""Limits on what runs (R4): how many jobs at once, how many starts in a window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

DEFAULT_WINDOW: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Limit:
    """What may run: `max_running` at once, `execution_rate` starts in any `execution_rate_window` seconds.

    None = unlimited, 0 = none.
    """

    max_running: int | None = None
    execution_rate: int | None = None
    execution_rate_window: float = DEFAULT_WINDOW

    @property
    def is_unlimited(self) -> bool:
        """Whether it limits nothing."""
        return self.max_running is None and self.execution_rate is None

    def room(self, running: int, started: int) -> int:
        """How many more may start, with so many running and so many started within the window; not for unlimited."""
        rooms = []
        if self.max_running is not None:
            rooms.append(self.max_running - running)
        if self.execution_rate is not None:
            rooms.append(self.execution_rate - started)
        return max(min(rooms), 0)


class Subject(NamedTuple):
    """What a limit is about. `organization` None: all together; `job_type` None: all of the organization's jobs."""

    organization: str | None
    job_type: str | None


def running_of(subject: Subject, running: Mapping[tuple[str, str], int]) -> int:
    """How many jobs of the subject run.

    Args:
        running: by (job type, organization).
    """
    return sum(
        number
        for (job_type, organization), number in running.items()
        if subject.organization in (None, organization) and subject.job_type in (None, job_type)
    )
