"""The check that clients may still be in their rooms, made each second for all clients at once.

So every loss of a right takes effect within two seconds, on every node, even if Fairlane's code did not cause it. A
host's directory may answer from its cache of some seconds (`directory_max_age`).
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from fairlane.domain.errors import FairlaneError
from fairlane.domain.permissions import Credential, Principal, Right, access
from fairlane.domain.statuses import OrganizationStatus
from fairlane.domain.timing import LONGEST_DIRECTORY_AGE, PROOF_KEPT, SAY_AGAIN, WATCHERS_KEPT
from fairlane.realtime.hub import EVERYTHING, Room
from fairlane.tenancy.directory import Directory, Standing
from fairlane.tenancy.directory import Membership as Member
from fairlane.tenancy.host_directory import HostDirectory

_log: Final = logging.getLogger(__name__)

_STANDS: Final = 2.0  # seconds without events because an answer is missing, after which the log says so
STANDING: Final = (
    "No live events are sent, because it can't be checked in time who may watch them. Look whether the database "
    "answers, and what slows it down."
)

MaySee = Callable[[Principal, Room], bool]


class Membership:
    """The checks of credentials and memberships, made in bulk. Its methods block, except `is_fresh`.

    Args:
        ask: returns the principals of the credentials that are valid.
        max_age: how old a host's answers may be, in seconds.
    """

    def __init__(
        self,
        ask: Callable[[Collection[Credential]], Mapping[Credential, Principal]],
        directory: Directory,
        max_age: float,
    ) -> None:
        self._ask = ask
        self._directory = directory
        self._max_age = max_age
        self._is_hosts = isinstance(directory, HostDirectory)
        self.credentials_checked = 0.0
        self.memberships_checked = 0.0

    def is_fresh(self, now: float) -> bool:
        """Return True if the last answers still hold; while they don't, no events are sent."""
        longest = LONGEST_DIRECTORY_AGE if self._is_hosts else WATCHERS_KEPT
        return now - self.credentials_checked < WATCHERS_KEPT and now - self.memberships_checked < longest

    def principals(self, those: Iterable[Principal]) -> Mapping[Credential | None, Principal]:
        """Return the principals of the credentials that are still valid."""
        found = self._ask({one.credential for one in those if one.credential is not None})
        return {one.credential: one for one in found.values()}

    def those_who_may(self, asked: Collection[tuple[Principal, Room]]) -> MaySee:
        """Return the check whether these principals may still see these rooms."""
        pairs = {(room.organization, one.user) for one, room in asked if room != EVERYTHING}
        standings = self._organizations({organization for organization, _ in pairs})
        members = self._members(pairs)

        def may_see(principal: Principal, room: Room) -> bool:
            if room == EVERYTHING:
                return is_operator(principal)
            standing = standings.get(room.organization)
            if standing is None or standing.status is OrganizationStatus.DELETED:
                return False
            member = members.get((room.organization, principal.user))
            found = access(principal, room.organization, member.role if member else None)
            return found is not None and Right.JOBS_READ in found.rights

        return may_see

    def _organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        if not ids:
            return {}
        if isinstance(self._directory, HostDirectory):
            return self._directory.organizations(ids, self._max_age)
        return self._directory.organizations(ids)

    def _members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Member]:
        if not pairs:
            return {}
        if isinstance(self._directory, HostDirectory):
            return self._directory.members(pairs, self._max_age)
        return self._directory.members(pairs)


def is_operator(principal: Principal) -> bool:
    """Return True if the principal may watch the jobs of all organizations."""
    rights = principal.operator_rights if principal.is_operator else None
    is_cut = principal.scopes is not None and Right.JOBS_READ not in principal.scopes
    return rights is not None and Right.JOBS_READ in rights and not is_cut


class Silence:
    """The time without events because no fresh answer came. The log repeats that it lasts."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._said = -math.inf

    def lasts(self, now: float) -> None:
        """Note that there is no fresh answer at this time of the monotonic clock."""
        self._since = now if self._since is None else self._since
        if now - self._since > _STANDS and now - self._said > SAY_AGAIN:
            self._said = now
            _log.warning(STANDING)

    def ends(self) -> None:
        """Note that there is a fresh answer again."""
        self._since = None


async def each_second(check: Callable[[], Coroutine[Any, Any, None]], sooner: asyncio.Event) -> None:
    """Run the check each second, and at once if `sooner` is set."""
    while True:
        sooner.clear()
        began = time.monotonic()
        # Without an answer no events are sent soon: see `Membership.is_fresh`.
        try:
            await check()
        except FairlaneError:
            pass
        except Exception:  # noqa: BLE001 - the checks must survive a bug, too
            _log.exception("The check whether clients may still watch failed; it is repeated in a second.")
        # An answer is as old as its question: after a question of a second the next one must not wait.
        with suppress(TimeoutError):
            await asyncio.wait_for(sooner.wait(), max(0.0, began + PROOF_KEPT - time.monotonic()))
