"""Cache the answers of a host's directory for claims, and ask it less and less often while it is away.

Without an answer jobs wait; only a definite no ends a job.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.domain.events import DirectoryBack, DirectoryLost, Emit
from fairlane.domain.timing import SAY_AGAIN
from fairlane.engine.service import next_wait
from fairlane.tenancy.directory import Membership, Standing
from fairlane.tenancy.host_directory import HostDirectory


class DirectoryAway(Exception):
    """There is no answer now; jobs that need it wait."""


class CachedDirectory:
    """A cache around a host's `Directory`, for one worker. Its methods raise `DirectoryAway`.

    Args:
        max_age: the greatest age of an answer, in seconds.
    """

    def __init__(
        self, host: HostDirectory, max_age: float, emit: Emit, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._max_age = max_age
        self._organizations = _Outage(emit, monotonic)
        self._members = _Outage(emit, monotonic)

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        """Return the organizations that exist.

        This is away while `members` is away, too: claimed jobs would be given back.
        """
        self._members.refuse()
        with self._organizations.watched():
            return self._host.organizations(ids, self._max_age)

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        """Return the (organization, user) pairs that are members."""
        with self._members.watched():
            return self._host.members(pairs, self._max_age)

    def members_for(self, needs: Collection[tuple[str, str, str | None]]) -> Mapping[tuple[str, str], Membership]:
        """Return the members among these (organization, user, permission that is needed).

        If a cached answer says no, the host is asked again: a user who was given a right just now has it.
        """
        members = self.members({need[:2] for need in needs})
        doubtful = {need[:2] for need in needs if need[:2] in members and not members[need[:2]].may_submit(need[2])}
        if not doubtful:
            return members
        sure = {pair: one for pair, one in members.items() if pair not in doubtful}
        with self._members.watched():
            return {**sure, **self._host.members(doubtful)}


class _Outage:
    """An outage of a directory's method: when to ask again, and when to say so."""

    def __init__(self, emit: Emit, monotonic: Callable[[], float]) -> None:
        self._emit = emit
        self._monotonic = monotonic
        self._wait = 0.0
        self._ask_again = self._say_again = float("-inf")

    def refuse(self) -> None:
        """Raise `DirectoryAway` until it is time to ask again."""
        if self._monotonic() < self._ask_again:
            raise DirectoryAway

    @contextmanager
    def watched(self) -> Iterator[None]:
        self.refuse()
        try:
            yield
        except (StorageUnavailable, ConfigurationError) as error:
            self._goes_on(error)
            raise DirectoryAway from error
        if self._wait:
            self._wait, self._say_again = 0.0, float("-inf")
            self._emit(DirectoryBack())

    def _goes_on(self, error: Exception) -> None:
        now = self._monotonic()
        self._wait = next_wait(self._wait)
        self._ask_again = now + self._wait
        if now >= self._say_again:
            self._say_again = now + SAY_AGAIN
            cause = error.__cause__
            is_told = cause is None or isinstance(error, ConfigurationError)
            self._emit(DirectoryLost(str(error) if is_told else type(cause).__name__))
