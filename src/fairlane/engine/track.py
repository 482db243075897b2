"""`ctx.track`: iterate, and let people see how far it is."""

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from fairlane.domain.numbers import number_of

T = TypeVar("T")
AnyIterable = Iterable[T] | AsyncIterable[T]

PACE: Final = 0.1  # seconds; between two reports, so that a loop of a million items spends no time on them


class Track(Generic[T]):
    """Gives the items of an iterable, sync or async, and reports after each that is done: the first and last always.

    Args:
        report: takes percent and message.
        check: called before each item, to raise if the handler should stop.
        iterable: what to iterate.
        total: how many items there are, or None for unknown.
        message: what is being done, or None for the number of items done.
    """

    def __init__(
        self,
        report: Callable[[float | None, str | None], object],
        check: Callable[[], object],
        iterable: AnyIterable[T],
        total: float | None,
        message: str | None,
    ) -> None:
        if not isinstance(iterable, Iterable | AsyncIterable):
            raise TypeError(f"ctx.track takes a list or another iterable, not {iterable!r:.80}.")
        self._report = report
        self._check = check
        self._iterable = iterable
        self._total = (
            None if total is None else number_of("total must be a number, or None if it is unknown, not", total)
        )
        self._message = message
        self._due = 0.0

    def __iter__(self) -> Iterator[T]:
        if not isinstance(self._iterable, Iterable):
            raise TypeError(f"a {type(self._iterable).__name__} is iterated with `async for`")
        done = 0
        for item in self._iterable:
            self._before_item(done)
            yield item
            done += 1
        self._say(done, ended=True)

    async def __aiter__(self) -> AsyncIterator[T]:
        if not isinstance(self._iterable, AsyncIterable):
            raise TypeError(f"a {type(self._iterable).__name__} is iterated with a plain `for`")
        done = 0
        async for item in self._iterable:
            self._before_item(done)
            yield item
            done += 1
        self._say(done, ended=True)

    def _before_item(self, done: int) -> None:
        if (now := time.monotonic()) < self._due:
            self._check()
            return
        self._due = now + PACE
        self._say(done, ended=False)

    def _say(self, done: int, *, ended: bool) -> None:
        total = self._total
        message = self._message or (f"{done}" if total is None else f"{done} of {total:g}")
        percent = 100.0 * done / total if total else None
        if ended and total is not None:
            percent = 100.0  # all is done, whatever the total promised
        self._report(percent, message)
