"""A fault: the statement that it hit, and the functions that led to it."""

import sys
from types import FrameType
from typing import Final, NamedTuple

_SUBJECTS: Final = ("accounts", "encryption", "engine", "jobtypes", "reads", "schedules", "tenancy")
_PACKAGES: Final = tuple(f"fairlane.{name}." for name in _SUBJECTS)
# What speaks to PostgreSQL on a worker's loop, and the calls above it there say nothing.
ON_THE_LOOP: Final = ("LaneCache.refresh", "Claims.claim", "Results._complete")
# What sends statements without BEGIN and COMMIT around them.
_BY_ITSELF: Final = frozenset({"Submitter._submit_plain", *ON_THE_LOOP})


class Fault(NamedTuple):
    """A fault that was injected, or is to be.

    `calls`: Fairlane's functions above the store that led to the statement, innermost first; `number`: how often the
    test had sent it by then; `has_effect`: it was done before the connection was lost; `is_alone`: in no transaction.
    """

    calls: tuple[str, ...]
    statement: str
    number: int
    has_effect: bool
    is_alone: bool = True

    @property
    def is_commit(self) -> bool:
        """Return True if the fault hit a COMMIT."""
        return self.statement.startswith("COMMIT")

    @property
    def is_of_a_submission(self) -> bool:
        """Return True if a submission met it, which finds out by itself whether its COMMIT took effect."""
        return "Submitter._submit_prepared" in self.calls

    @property
    def may_be_kept(self) -> bool:
        """Return True if the transaction may have taken effect, although its answer was lost."""
        is_by_itself = self.is_alone and not _BY_ITSELF.isdisjoint(self.calls)
        # Before it submits, it looks for the organization's keys; and after a lost answer, for what was submitted.
        is_a_look = "Submitter._find" in self.calls or self.statement.startswith("SELECT")
        return self.has_effect and (self.is_commit or is_by_itself) and not is_a_look

    @property
    def place(self) -> str:
        """Return the name of the service or verb that met it."""
        on_the_loop = (name for name in ON_THE_LOOP if name in self.calls)
        return next(on_the_loop, self.calls[-1] if self.calls else "other")

    def __str__(self) -> str:
        when = "after it took effect" if self.has_effect else "before it took effect"
        text = " ".join(self.statement.split())
        shown = text if len(text) < 100 else f"{text[:60]} … {text[-35:]}"
        return f"{' < '.join(self.calls) or 'other'}: {when}, no. {self.number} of {shown}"


def calls() -> tuple[str, ...]:
    """Fairlane's functions above the store on this thread's stack, innermost first."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_qualname
        if frame.f_globals.get("__name__", "").startswith(_PACKAGES) and "<" not in name:
            found.append(name)
        frame = frame.f_back
    return tuple(found)
