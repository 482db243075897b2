"""The options of a job type, checked once, and the form in which they are registered for other processes."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, Self

from fairlane.domain.arguments import seconds
from fairlane.domain.backoff import Backoff
from fairlane.domain.error_types import name_of
from fairlane.domain.errors import ConfigurationError
from fairlane.domain.limits import DEFAULT_WINDOW, Limit
from fairlane.domain.statuses import Priority
from fairlane.domain.timing import LONGEST_RATE_WINDOW

OnDuplicate = Literal["reject", "return", "replace"]

DEFAULT_TIMEOUT: Final = 300.0  # seconds (R6)
BULK_QUEUE: Final = "bulk"
BULK_TIMEOUT: Final = 1800.0  # seconds, for types in the queue "bulk" (R6)
DEFAULT_RETRIES: Final = 5
DEFAULT_DEDUP_WINDOW: Final = 300.0


class Isolation(StrEnum):
    """The place in which a handler runs. `auto`: `async def` on the event loop, `def` in a thread."""

    AUTO = "auto"
    ASYNC = "async"
    THREAD = "thread"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a job type: how its jobs run, and their limits; times in seconds, None = unlimited."""

    timeout: float | None = DEFAULT_TIMEOUT
    max_retries: int | None = DEFAULT_RETRIES
    backoff: Backoff = field(default_factory=Backoff)
    priority: Priority = Priority.NORMAL
    queue: str = "default"
    isolation: Isolation = Isolation.AUTO
    dedup_window: float = DEFAULT_DEDUP_WINDOW
    rate_limit: int | None = None
    rate_limit_window: float = 60.0
    max_running: int | None = None
    execution_rate: int | None = None
    execution_rate_window: float = DEFAULT_WINDOW
    requires_permission: str | None = None
    retention: float | None = None  # None = the setting

    @property
    def limit(self) -> Limit:
        """Return the limit on the type's jobs."""
        return Limit(self.max_running, self.execution_rate, self.execution_rate_window)

    def to_json(self) -> str:
        """Write the registered form."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Read the registered form; options of a newer version are ignored."""
        known: dict[str, Any] = {name: value for name, value in json.loads(document).items() if name in cls.__slots__}
        backoff = known.pop("backoff", None) or {}
        options = cls(**known)
        return replace(
            options,
            backoff=Backoff(backoff["base"], backoff["cap"], tuple(backoff["delays"])) if backoff else Backoff(),
            priority=Priority(options.priority),
            isolation=Isolation(options.isolation),
        )


def timeout_seconds(value: object) -> float | None:
    """Return a timeout in seconds; None = unlimited.

    Raises:
        ConfigurationError: it is 0 or less: such a job could never run.
    """
    if value is None:
        return None
    number = seconds("timeout", value)
    if number == 0:
        raise ConfigurationError("timeout must be above 0; None means unlimited.")
    return number


def exceptions(name: str, value: object) -> tuple[str, ...]:
    """Return the names of exception classes, as the classifier knows them.

    Raises:
        ConfigurationError: it is not a list of exception classes.
    """
    given = tuple(value) if isinstance(value, Iterable) else (value,)
    if isinstance(value, Iterable) and all(isinstance(one, type) and issubclass(one, BaseException) for one in given):
        return tuple(map(name_of, given))
    raise ConfigurationError(
        f"{name} must be a list of exception classes, for example [TimeoutError], not {value!r:.80}."
    )


def rate_window(name: str, value: object) -> float:
    """Return the window of a rate, in seconds.

    Raises:
        ConfigurationError: it is 0 or above a day.
    """
    window = seconds(name, value)
    if not 0 < window <= LONGEST_RATE_WINDOW:
        raise ConfigurationError(f"{name} must be above 0 and at most {LONGEST_RATE_WINDOW:g} s, not {window:g}.")
    return window


def window_of(name: str, number: int | None, window: object) -> float:
    """Return the window of the rate `name`, as `rate_window`.

    Raises:
        ConfigurationError: it is not a window, or its rate was not given, so it would hold back nothing.
    """
    length = rate_window(f"{name}_window", window)
    if number is None and length != DEFAULT_WINDOW:
        raise ConfigurationError(f"{name}_window is the time of {name}, which is not given; give it, too.")
    return length


def backoff_of(value: object) -> Backoff:
    """Return a `Backoff`, or an explicit list of waits.

    Raises:
        ConfigurationError: it is neither, a wait is negative, or the list is empty.
    """
    if value is None or isinstance(value, Backoff):
        return value or Backoff()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigurationError(
            f"backoff must be a Backoff or a list of waits, for example [60, 300], not {value!r:.80}."
        )
    delays = tuple(seconds("backoff", one) for one in value)
    if not delays:
        raise ConfigurationError("backoff needs at least one wait, or leave it out for the default.")
    return Backoff.of(delays)
