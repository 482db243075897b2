"""Notices a handler that blocks the event loop, and says where."""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

_TICK = 0.2  # seconds
_BLOCKED_AFTER = 1.0  # seconds


class LoopWatch:
    """A thread that watches whether the loop still turns.

    Args:
        on_blocked: called once per block, from the thread, with its seconds so far and the place in the code.
        on_stuck: called when a block has lasted `stuck_after` seconds.
    """

    def __init__(
        self, on_blocked: Callable[[float, str], None], on_stuck: Callable[[], None], stuck_after: float
    ) -> None:
        self._on_blocked = on_blocked
        self._on_stuck = on_stuck
        self._stuck_after = stuck_after
        self._last_turn = time.monotonic()
        self._loop_thread = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fairlane-loop-watch", daemon=True)

    def start(self) -> None:
        """Begin, on the loop's own thread."""
        self._loop_thread = threading.get_ident()
        self._turn(asyncio.get_running_loop())
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last_turn = time.monotonic()
        if not self._stop.is_set():
            loop.call_later(_TICK, self._turn, loop)

    def _watch(self) -> None:
        said: float | None = None
        stuck = False
        while not self._stop.wait(_TICK):
            turn = self._last_turn
            blocked = time.monotonic() - turn
            if blocked > _BLOCKED_AFTER and said != turn:
                said = turn
                self._on_blocked(blocked, self._where())
            if blocked > self._stuck_after and not stuck:
                stuck = True
                self._on_stuck()

    def _where(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the interpreter's documented door
        if frame is None:
            return "an unknown place"
        innermost = traceback.extract_stack(frame)[-1]
        return f"{Path(innermost.filename).name}:{innermost.lineno} in {innermost.name}"
