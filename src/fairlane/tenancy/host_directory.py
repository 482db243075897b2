"""A cached, checked view of a host application's own directory.

Only positive answers are cached, for some seconds. An answer that would end a job (unknown or deleted) is always fresh.
"""

import time
from collections.abc import Callable, Collection, Hashable, Mapping
from collections.abc import Set as AbstractSet
from threading import Lock
from traceback import format_exception_only
from typing import Any, Final, Generic, TypeVar

from fairlane.domain.arguments import count
from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.domain.texts import ORGANIZATION_IDS, PLATFORM, USER_IDS, printable
from fairlane.domain.timing import LONGEST_DIRECTORY_AGE
from fairlane.tenancy.directory import OF_PLATFORM, Directory, Membership, Standing

_LONGEST_CAUSE: Final = 200  # characters
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class HostDirectory:
    """A `Directory` around a host's. Both methods raise the same errors.

    Raises:
        StorageUnavailable: the host's code raised an error, for an outage or a bug.
        ConfigurationError: the host's answer does not follow the protocol.
    """

    def __init__(self, host: Directory, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._organizations: _CachedMethod[str, Standing] = _CachedMethod(
            host, "organizations", _refuse_standing, monotonic
        )
        self._members: _CachedMethod[tuple[str, str], Membership] = _CachedMethod(
            host, "members", _refuse_membership, monotonic
        )

    def organizations(self, ids: Collection[str], max_age: float = 0.0) -> dict[str, Standing]:
        """Return those of the organizations that exist; an answer may be `max_age` seconds old."""
        found = self._organizations.ask({one for one in ids if ORGANIZATION_IDS.fits(one)}, max_age)
        return found | {PLATFORM: OF_PLATFORM} if PLATFORM in ids else found

    def members(self, pairs: Collection[tuple[str, str]], max_age: float = 0.0) -> dict[tuple[str, str], Membership]:
        """Return those of the (organization, user) pairs that are members; an answer may be `max_age` seconds old."""
        possible = {(one, user) for one, user in pairs if ORGANIZATION_IDS.fits(one) and USER_IDS.fits(user)}
        return self._members.ask(possible, max_age)

    def changed(self, organization: str, user: str | None = None) -> None:
        """Forget cached answers about a member, or about an organization and all its members."""
        if user is None:
            self._organizations.forget(lambda one: one == organization)
        self._members.forget(lambda pair: pair[0] == organization and user in (None, pair[1]))


class _CachedMethod(Generic[K, V]):
    """A method of the host's directory, with its recent answers."""

    def __init__(
        self,
        host: Directory,
        question: str,
        refuse: Callable[[Any], str | None],
        monotonic: Callable[[], float],
    ) -> None:
        self._host = host
        self._question = question
        self._refuse = refuse
        self._monotonic = monotonic
        self._answers: dict[K, tuple[float, V]] = {}
        self._changes = 0
        self._lock = Lock()  # several workers and submissions of a process ask at once

    def ask(self, keys: set[K], max_age: float) -> dict[K, V]:
        with self._lock:
            # An answer is as old as its question.
            now, changes = self._monotonic(), self._changes
            kept = {key: self._answers[key] for key in keys & self._answers.keys()}
        known = {key: value for key, (at, value) in kept.items() if now - at < max_age}
        missing = keys - known.keys()
        if not missing:
            return known
        answer = self._checked(missing)
        with self._lock:
            young = {key: one for key, one in self._answers.items() if now - one[0] < LONGEST_DIRECTORY_AGE}
            self._answers = {key: one for key, one in young.items() if key not in missing}
            # A fresh answer is not cached. So the claim of a job submitted now begins with a fresh answer, too.
            if max_age > 0 and changes == self._changes:
                self._answers |= {key: (now, value) for key, value in answer.items() if not _is_no(value)}
        return known | answer

    def forget(self, matches: Callable[[K], bool]) -> None:
        with self._lock:
            self._changes += 1  # an answer in flight may be outdated
            self._answers = {key: one for key, one in self._answers.items() if not matches(key)}

    def _checked(self, keys: set[K]) -> dict[K, V]:
        try:
            answer = getattr(self._host, self._question)(frozenset(keys))
            given: dict[Any, Any] | None = dict(answer) if isinstance(answer, Mapping) else None
        except Exception as error:
            # Only the first line: other lines of a database error may name other users or organizations.
            said = printable(format_exception_only(error)[0].partition("\n")[0][:_LONGEST_CAUSE])
            raise StorageUnavailable(
                f"The directory's `{self._question}` raised {said}; nothing was changed. "
                "If that is no passing outage, mend its code."
            ) from error
        # Without the names in question: members of other organizations may read the message.
        if given is None:
            wrong: str | None = f"a {type(answer).__name__} instead of a mapping"
        elif not given.keys() <= keys:
            wrong = "more than it was asked for"
        else:
            wrong = next(filter(None, map(self._refuse, given.values())), None)
        if given is None or wrong is not None:
            # With a cause, which shows that it is not the caller's mistake.
            raise ConfigurationError(
                f"The directory's `{self._question}` answered {wrong}; mend it as `fairlane.Directory` says."
            ) from TypeError(wrong)
        return given


def _is_no(value: object) -> bool:
    return isinstance(value, Standing) and value.status is OrganizationStatus.DELETED


def _refuse_standing(value: Any) -> str | None:
    """Say what is wrong with a value of the answer; None = nothing."""
    if not isinstance(value, Standing):
        return f"a {type(value).__name__} where a Standing belongs"
    status: object = value.status
    if not isinstance(status, OrganizationStatus):
        return f"a Standing whose status is a {type(status).__name__}, not an OrganizationStatus"
    for name in ("max_live_jobs", "max_running"):
        try:
            count(name, getattr(value, name))
        except ConfigurationError:
            return f"a Standing whose {name} is neither None nor a whole number from 0"
    weight: object = value.weight
    if isinstance(weight, bool) or not isinstance(weight, int) or weight < 1:
        return "a Standing whose weight is no whole number from 1"
    return None


def _refuse_membership(value: Any) -> str | None:
    """Say what is wrong with a value of the answer; None = nothing."""
    if not isinstance(value, Membership):
        return f"a {type(value).__name__} where a Membership belongs"
    role: object = value.role
    if not isinstance(role, Role):
        return f"a Membership whose role is a {type(role).__name__}, not a Role"
    permissions: object = value.permissions
    if not isinstance(permissions, AbstractSet) or not all(isinstance(one, str) for one in permissions):
        return "a Membership whose permissions are not a set of names"
    return None
