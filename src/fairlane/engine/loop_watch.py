"""Find code that blocks the event loop, mostly in a handler, and report its place."""

import asyncio
import sys
import threading
import time
import traceback
from asyncio import events, runners
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from fairlane.engine import own_loop
from fairlane.engine.executors import base

_TICK: Final = 0.4  # seconds; each is two of the few times that an idle worker wakes up
_BLOCKED_AFTER: Final = 1.0  # seconds
_IDLE: Final = 0.1  # of the time
_FAIRLANE: Final = Path(__file__).parents[1]
# The loop's calls are behind the last of these frames, by file and function; a handler is behind `run_async`.
_LOOPS: Final = {(events.__file__, "_run"), (runners.__file__, "run"), (own_loop.__file__, "run")}
_CALLER: Final = (base.__file__, base.run_async.__name__)


class LoopWatch:
    """A thread that watches whether the loop still turns.

    Args:
        on_blocked: called once per block, from a thread of its own, with the seconds so far, the place in the code, the
            name of the task that runs there, None if it is no task, and True if Fairlane's own code runs there instead
            of a handler.
        on_stuck: called from the thread with the seconds, repeatedly, while a block lasts longer than `stuck_after`;
            not at the first look that finds it so. The watch may have been held up, too, and the loop may turn next.
    """

    def __init__(
        self,
        on_blocked: Callable[[float, str, str | None, bool], None],
        on_stuck: Callable[[float], None],
        stuck_after: float,
    ) -> None:
        self._on_blocked = on_blocked
        self._on_stuck = on_stuck
        self._stuck_after = stuck_after
        self._last_turn = time.monotonic()
        self._loop_thread = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fairlane-loop-watch", daemon=True)

    def start(self) -> None:
        """Begin, on the loop's own thread."""
        self._loop_thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._turn(self._loop)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last_turn = time.monotonic()
        if not self._stop.is_set():
            loop.call_later(_TICK, self._turn, loop)

    def _watch(self) -> None:
        said = suspected = None
        resumed = asked = time.monotonic()
        used = time.process_time()
        while not self._stop.wait(_TICK):
            now = time.monotonic()
            if _was_paused(now - asked, time.process_time() - used):
                resumed = now  # the loop could not turn either
            turn = self._last_turn
            blocked = now - max(turn, resumed)
            if blocked > _BLOCKED_AFTER and said != turn:
                said = turn
                # In a thread of its own: if a log line blocks the loop, the next log line waits behind it.
                where, is_ours = self._where()
                told = (blocked, where, self._task(), is_ours)
                with suppress(RuntimeError):  # no thread can be started: the watch goes on
                    threading.Thread(target=self._on_blocked, args=told, daemon=True).start()
            if blocked > self._stuck_after:
                if suspected == turn:
                    self._on_stuck(blocked)
                suspected = turn
            asked, used = time.monotonic(), time.process_time()

    def _task(self) -> str | None:
        # The loop stands still, so its task is read from this thread.
        task = asyncio.current_task(self._loop)
        return task.get_name() if task is not None else None

    def _where(self) -> tuple[str, bool]:
        """Return the place, and True if Fairlane's own code is there."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the interpreter's documented door
        if frame is None:
            return "an unknown place", False
        stack = traceback.extract_stack(frame)
        last, names = len(stack) - 1, [(one.filename, one.name) for one in stack]
        by_loop = max((place for place, one in enumerate(names) if one in _LOOPS), default=last)
        by_us = max((place for place, one in enumerate(names) if one == _CALLER), default=-1)
        # Fairlane called the handler, and the innermost frame may be deep in a library.
        first = min(max(by_loop, by_us) + 1, last)
        is_ours = Path(stack[first].filename).is_relative_to(_FAIRLANE)
        place = first if is_ours or by_us >= 0 else last
        inner = f", within {_place(stack[last])}" if place < last else ""
        return _place(stack[place]) + inner, is_ours


def _was_paused(seconds: float, computed: float) -> bool:
    """Return True if the whole process was paused during a tick of so many seconds, of which it computed so many.

    Code that holds the interpreter's lock, for example a regular expression, makes the watch late, too, but computes.
    """
    return seconds > _BLOCKED_AFTER and computed < seconds * _IDLE


def _place(frame: traceback.FrameSummary) -> str:
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
