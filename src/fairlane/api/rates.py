"""Rate limits for each user and kind of request, so that a user who sends too much takes nothing from others.

The members of an organization together have a multiple of a user's limit. So enrolling more users gains no more.

A token's requests count for its user within the token's organization only. Else the admins of another organization
could enroll that user there, and use up the limit by tokens of theirs.

Each node counts by itself. With `rates_url` all nodes count together in Redis or Valkey, and each by itself while that
does not answer. Requests whose user is not known yet are always counted by each node: a flood of them must cost no
more than memory.
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
_RATES_TIMEOUT: Final = 0.5  # seconds for an answer of Redis or Valkey, for which a request waits
_RETRY_AFTER: Final = 5.0  # seconds after a missing answer, until Redis or Valkey is asked again
_MINUTE: Final = 60.0  # seconds
_MOST: Final = 100_000  # keys; the least recently used are forgotten first


class Windows:
    """A moving window of a minute for each key, in the memory of this process.

    Its memory is bounded, however many keys there are. The in-memory storage of `limits` keeps all keys for ever, and
    scans them with each request.

    Args:
        most: largest number of keys.
        monotonic: for tests.
    """

    def __init__(self, most: int = _MOST, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()  # in the order of the newest hits, oldest first
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._hits)

    def hit(self, key: str, limit: int) -> float:
        """Count a hit and return 0; if there were `limit` within the last minute, return the seconds to wait."""
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
        """Undo the newest hit of a key."""
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
    """The kinds of requests, each with its own limit."""

    SUBMIT = "submit"
    STATUS = "status"
    LIST = "list"
    CANCEL = "cancel"
    METRICS = "metrics"
    LOGIN = "login"


class Rates:
    """The counts of requests within the last minute.

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
        """Count one request under a key.

        Args:
            times: how many times the rate's limit the key has.
            of: for the error text: whose requests were too many, if not only the user's own.

        Raises:
            Problem: there were too many; it says when to retry.
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
        """Count one request of a member for their organization, whose limit does not grow with its users.

        Raises:
            Problem: the members together sent too many.
        """
        # This key is no user's: those contain a slash.
        self.count(rate, organization, times=self._users, of=" from all users of the organization together")

    def count_all(self, secret: str, address: str) -> str:
        """Count a request under its credential, before the database is asked about the credential.

        The limit is the sum of a user's limits. A credential that was never proved counts for its address, too: so it
        does not help to invent a new one for each request.

        Returns:
            The hash by which `KnownTenants` knows the credential.

        Raises:
            Problem: there were too many.
        """
        key = sha256(secret.encode(errors="replace")).hexdigest()
        if not self.tenants.is_proved(key):
            self._count(self._unproved, "unproved", address)
        self._count(self._all, "all", key)
        return key

    def count_ticket(self, address: str) -> None:
        """Count a socket, or a ticket, like a credential that was never proved, until the ticket is proved.

        Raises:
            Problem: there were too many.
        """
        self._count(self._unproved, "unproved", address)

    def count_document(self, address: str) -> None:
        """Count a request for the OpenAPI document, which needs no credential, apart from the address's others.

        Raises:
            Problem: there were too many.
        """
        self._count(self._unproved, "document", address)

    def prove_ticket(self, address: str) -> None:
        """Undo the count of a ticket: it was valid, or could not be checked."""
        self._own.take_back(f"unproved/{address}")

    def _count(self, limit: int, kind: str, who: str, of: str = "") -> None:
        _refuse_after(self._own.hit(f"{kind}/{who}", limit), limit, kind, of)

    def _wait_of_all_nodes(self, shared: MovingWindowRateLimiter, limit: int, rate: Rate, who: str) -> float:
        item = RateLimitItemPerMinute(limit)
        if shared.hit(item, "fairlane", rate, who):
            return 0.0
        return max(shared.get_window_stats(item, "fairlane", rate, who).reset_time - time.time(), 1.0)


def rate_key(principal: Principal) -> str:
    """Return the key under which a principal's requests are counted. No organization has a slash in its id."""
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
    # Without timeouts a server that hangs would hold each request for ever.
    timeouts = {"socket_timeout": _RATES_TIMEOUT, "socket_connect_timeout": _RATES_TIMEOUT} if is_remote else {}
    try:
        return storage_from_string(url, wrap_exceptions=True, **timeouts)  # type: ignore[return-value]
    except (LimitsMisconfigured, ValueError) as error:
        raise ConfigurationError(
            f"rates_url can't be used ({error}); write redis://host:6379 and install redis, or leave it out."
        ) from error
