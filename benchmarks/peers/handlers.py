"""The work, the same for every peer. What it leaves is lines in a file: a word and a moment of the machine's clock.

Peers call handlers with arguments of their own, so each takes whatever comes.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

FILE: Final = "BENCH_FILE"
SHORT_SECONDS: Final = 0.001
SLOW_SECONDS: Final = 3.0


def record(word: str) -> None:
    """Write a line; short ones from several processes don't mix."""
    now = time.monotonic()
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(f"{word} {now}\n")


class _Once:
    """Records a word at its first call in a process, and costs next to nothing afterwards."""

    def __init__(self, word: str) -> None:
        self._word: str | None = word

    def __call__(self) -> None:
        if self._word is not None:
            word, self._word = self._word, None
            record(word)


_first: Final = _Once("first")


def noop(*_: object, **__: object) -> None:
    """Do nothing."""
    _first()


def short(*_: object, **__: object) -> None:
    """A millisecond of waiting, as for an answer from somewhere."""
    _first()
    time.sleep(SHORT_SECONDS)


def mark(*_: object, **__: object) -> None:
    """Say when it started."""
    record("mark")


def slow(*_: object, **__: object) -> None:
    """Long enough to be killed in."""
    record("began")
    time.sleep(SLOW_SECONDS)
    record("ended")


async def async_noop(*_: object, **__: object) -> None:
    """Do nothing."""
    _first()


async def async_short(*_: object, **__: object) -> None:
    """A millisecond of waiting, as for an answer from somewhere."""
    _first()
    await asyncio.sleep(SHORT_SECONDS)


async def async_mark(*_: object, **__: object) -> None:
    """Say when it started."""
    record("mark")


async def async_slow(*_: object, **__: object) -> None:
    """Long enough to be killed in."""
    record("began")
    await asyncio.sleep(SLOW_SECONDS)
    record("ended")


SYNC: Final[dict[str, Callable[..., None]]] = {"noop": noop, "short": short, "mark": mark, "slow": slow}
ASYNC: Final[dict[str, Callable[..., Coroutine[Any, Any, None]]]] = {
    "noop": async_noop,
    "short": async_short,
    "mark": async_mark,
    "slow": async_slow,
}
