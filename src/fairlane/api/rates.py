"""How often a user may ask: per user and kind of request, so that one that floods leaves the others' share alone.

Counted per node. With `rates_url` all nodes count together in Redis or Valkey; while that does not answer, each counts
by itself again.
"""

import logging
import time
from enum import StrEnum
from hashlib import sha256
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.errors import ConfigurationError as LimitsMisconfigured
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from fairlane.api.problems import Problem
from fairlane.config import WebSettings
from fairlane.domain.errors import ConfigurationError

_log: Final = logging.getLogger(__name__)
_PATIENCE: Final = 0.5  # seconds for an answer of Redis or Valkey; a request waits as long
_REST: Final = 5.0  # seconds without asking it, after it gave none


class Rate(StrEnum):
    """The kinds of requests that are counted apart."""

    SUBMIT = "submit"
    STATUS = "status"
    LIST = "list"
    CANCEL = "cancel"
    METRICS = "metrics"
    LOGIN = "login"


class Rates:
    """Counts requests within the last minute.

    Raises:
        ConfigurationError: `rates_url` can't be used.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._items: dict[Rate, RateLimitItem] = {
            rate: RateLimitItemPerMinute(getattr(settings, f"rate_{rate}")) for rate in Rate
        }
        self._all = RateLimitItemPerMinute(sum(one.amount for one in self._items.values()))
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(_storage(settings.rates_url)) if settings.rates_url else None
        self._asked_from = 0.0

    def count(self, rate: Rate, who: str) -> None:
        """Count one request of theirs.

        Raises:
            Problem: there were too many; it says when to try again.
        """
        item = self._items[rate]
        if self._shared is not None and time.monotonic() >= self._asked_from:
            try:
                self._count(self._shared, item, rate, who)
                return
            except StorageError as error:
                self._asked_from = time.monotonic() + _REST
                _log.warning("Rates are counted by each node itself: %s does not answer.", type(error).__name__)
        self._count(self._own, item, rate, who)

    def count_all(self, secret: str) -> None:
        """Count a request under its credential, before anybody asks the database about it.

        Within all of a user's limits together it never refuses; a flood costs the others no more than these.

        Raises:
            Problem: there were too many.
        """
        self._count(self._own, self._all, "all", sha256(secret.encode(errors="replace")).hexdigest())

    def _count(self, limiter: MovingWindowRateLimiter, item: RateLimitItem, rate: str, who: str) -> None:
        if limiter.hit(item, "fairlane", rate, who):
            return
        wait = max(limiter.get_window_stats(item, "fairlane", rate, who).reset_time - time.time(), 1.0)
        raise Problem(
            429,
            "too-many-requests",
            f"More than {item.amount} requests of the kind '{rate}' within a minute; wait {wait:.0f} s.",
            headers={"Retry-After": str(int(wait + 0.999))},
            retry_after=round(wait, 3),
        )


def _storage(url: str) -> Storage:
    is_remote = url.partition("://")[0].partition("+")[0] in {"redis", "rediss", "valkey", "valkeys"}
    # Without these one that has come to a standstill would hold each request for ever.
    patience = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE} if is_remote else {}
    try:
        return storage_from_string(url, wrap_exceptions=True, **patience)  # type: ignore[return-value]
    except (LimitsMisconfigured, ValueError) as error:
        raise ConfigurationError(
            f"rates_url can't be used ({error}); write redis://host:6379 and install redis, or leave it out."
        ) from error
