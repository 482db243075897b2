"""How often a user may ask: per user and kind of request, so that one that floods leaves the others' share alone.

So is what an organization's members ask together, at a multiple of it: to enroll more users gives no more than that.

What a token of an organization asks counts for its user there alone: the admins of another one may enroll whom they
like, and could else use up anybody's share.

Counted per node. With `rates_url` all nodes count the kinds together in Redis or Valkey; while that does not answer,
each counts by itself again. What is counted before anybody is known, each node counts by itself: a flood of that is to
take no more than memory.
"""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from threading import Lock
from typing import Final

from limits import RateLimitItemPerMinute
from limits.errors import ConfigurationError as LimitsMisconfigured
from limits.errors import StorageError
from limits.storage import Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from fairlane.api.problems import Problem
from fairlane.api.request_tenants import KnownTenants
from fairlane.config import WebSettings
from fairlane.domain.errors import ConfigurationError
from fairlane.domain.permissions import Principal
from fairlane.domain.texts import printable

_log: Final = logging.getLogger(__name__)
_RATES_TIMEOUT: Final = 0.5  # seconds for an answer of Redis or Valkey; a request waits as long
_RETRY_AFTER: Final = 5.0  # seconds without asking it, after it gave none
_MINUTE: Final = 60.0  # seconds
_MOST: Final = 100_000  # keys; whoever was silent for longest is forgotten before others


class Windows:
    """A moving window of a minute for each key, in the memory of this process.

    It is bounded however many keys there are. The storage of `limits` in memory keeps what it has counted once for
    ever, and looks at all of it with each request.

    Args:
        most: keys to remember.
        monotonic: for tests.
    """

    def __init__(self, most: int = _MOST, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()  # by the newest hit, the oldest of those first
        self._lock = Lock()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._hits)

    def hit(self, key: str, limit: int) -> float:
        """Count one, unless there were `limit` within the last minute: then the seconds until there will be fewer."""
        with self._lock:
            now = self._monotonic()
            self._forget(now - _MINUTE)
            hits = self._hits.setdefault(key, deque())
            while hits and hits[0] <= now - _MINUTE:
                hits.popleft()
            if len(hits) >= limit:
                return hits[0] + _MINUTE - now
            hits.append(now)
            self._hits.move_to_end(key)
            if len(self._hits) > self._most:
                self._hits.popitem(last=False)
            return 0.0

    def take_back(self, key: str) -> None:
        """Count the newest one no more."""
        with self._lock:
            hits = self._hits.get(key)
            if hits:
                hits.pop()
            if not hits:
                self._hits.pop(key, None)

    def _forget(self, before: float) -> None:
        while self._hits:
            oldest = next(iter(self._hits.values()))
            if oldest[-1] > before:
                return
            self._hits.popitem(last=False)


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
        self._limits: dict[Rate, int] = {rate: getattr(settings, f"rate_{rate}") for rate in Rate}
        self._all = sum(self._limits.values())
        self._unproved = settings.rate_unproved
        self._users = settings.rate_organization
        self._own = Windows()
        self.tenants = KnownTenants()
        self._shared = MovingWindowRateLimiter(_storage(settings.rates_url)) if settings.rates_url else None
        self._asked_from = 0.0

    def count(self, rate: Rate, who: str, *, times: int = 1, of: str = "") -> None:
        """Count one request of theirs.

        Args:
            times: how many times the rate's limit is theirs.
            of: whose these are, for who is refused, if not their own.

        Raises:
            Problem: there were too many; it says when to try again.
        """
        limit = self._limits[rate] * times
        if self._shared is not None and time.monotonic() >= self._asked_from:
            try:
                _refuse_after(self._wait_of_all_nodes(self._shared, limit, rate, who), limit, rate, of)
                return
            except StorageError as error:
                self._asked_from = time.monotonic() + _RETRY_AFTER
                _log.warning(
                    "Rates are counted by each node itself: %s does not answer.", printable(type(error).__name__)
                )
        self._count(limit, rate, who, of)

    def count_together(self, rate: Rate, organization: str) -> None:
        """Count one request of a member for their organization, so that with many users it has no more than a few.

        Raises:
            Problem: all of them together sent too many.
        """
        # No user is counted under it: whose they are has a slash.
        self.count(rate, organization, times=self._users, of=" from all users of the organization together")

    def count_all(self, secret: str, address: str) -> str:
        """Count a request under its credential, before anybody asks the database about it.

        Within all of a user's limits together it never refuses; a flood costs the others no more than these. One that
        nobody has seen to be good counts for its address, too: to invent another one each time is no way around.

        Returns:
            By what the places know the credential.

        Raises:
            Problem: there were too many.
        """
        key = sha256(secret.encode(errors="replace")).hexdigest()
        if not self.tenants.is_proved(key):
            self._count(self._unproved, "unproved", address)
        self._count(self._all, "all", key)
        return key

    def count_ticket(self, address: str) -> None:
        """Count a socket, or a ticket, like a credential that nobody has seen to be good, until it was.

        Raises:
            Problem: there were too many.
        """
        self._count(self._unproved, "unproved", address)

    def count_document(self, address: str) -> None:
        """Count a look at the OpenAPI document, which takes no credential, apart from what else comes from there.

        Raises:
            Problem: there were too many.
        """
        self._count(self._unproved, "document", address)

    def prove_ticket(self, address: str) -> None:
        """Count a ticket no more: it was good, or nobody could say."""
        self._own.take_back(f"unproved/{address}")

    def _count(self, limit: int, kind: str, who: str, of: str = "") -> None:
        _refuse_after(self._own.hit(f"{kind}/{who}", limit), limit, kind, of)

    def _wait_of_all_nodes(self, shared: MovingWindowRateLimiter, limit: int, rate: Rate, who: str) -> float:
        item = RateLimitItemPerMinute(limit)
        if shared.hit(item, "fairlane", rate, who):
            return 0.0
        return max(shared.get_window_stats(item, "fairlane", rate, who).reset_time - time.time(), 1.0)


def rate_key(principal: Principal) -> str:
    """Return under whom a principal's requests are counted. No organization has a slash in its id."""
    return f"{principal.organization or ''}/{principal.user}"


def _refuse_after(wait: float, limit: int, kind: str, of: str) -> None:
    if wait <= 0:
        return
    wait = max(wait, 1.0)
    raise Problem(
        429,
        "too-many-requests",
        f"More than {limit} requests of the kind '{kind}'{of} within a minute; wait {wait:.0f} s.",
        headers={"Retry-After": str(int(wait + 0.999))},
        retry_after=round(wait, 3),
    )


def _storage(url: str) -> Storage:
    is_remote = url.partition("://")[0].partition("+")[0] in {"redis", "rediss", "valkey", "valkeys"}
    # Without these one that has come to a standstill would hold each request for ever.
    timeouts = {"socket_timeout": _RATES_TIMEOUT, "socket_connect_timeout": _RATES_TIMEOUT} if is_remote else {}
    try:
        return storage_from_string(url, wrap_exceptions=True, **timeouts)  # type: ignore[return-value]
    except (LimitsMisconfigured, ValueError) as error:
        raise ConfigurationError(
            f"rates_url can't be used ({error}); write redis://host:6379 and install redis, or leave it out."
        ) from error
