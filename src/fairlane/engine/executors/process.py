"""Runs handlers in processes of their own, which can be killed, and whose crash hurts nobody else.

Each child runs in its own session, one handler after the other. One that was interrupted or that died is replaced. What
the two sides say to each other is in `wire`, the other side is `child`.

To come up a child imports the application, which keeps a core busy for a second or so. If all that are needed came up
together, the first would be there when the last is, and by then it could have run all of the short handlers. So only as
many come up at once as there are cores; other handlers wait for whichever child is free first. But one that hangs in an
import must not hold up the others: while any wait, one child more comes up each second.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fairlane.engine.executors import wire
from fairlane.engine.executors.base import Abandoned, Call, Execution, OnEnd
from fairlane.engine.executors.child_process import ChildProcess
from fairlane.engine.executors.target import importable_target
from fairlane.engine.reports import Interruption

# Children that import the application; of one worker process, and of the cores that it may use.
_AT_ONCE: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_PATIENCE: Final = 1.0  # seconds


class ProcessExecution(Execution):
    """`Execution` in a child process.

    Args:
        run: its number.
        start: the message that has a child begin it.
        on_begun: called when its child has come up and calls the handler.
    """

    def __init__(self, call: Call, on_end: OnEnd, run: int, start: bytes, on_begun: Callable[[], None]) -> None:
        super().__init__(call, on_end)
        self.started = None
        self._run, self._start, self._on_begun = run, start, on_begun
        self._child: ChildProcess | None = None  # while it waits for one
        self.entered = None

    def enter(self, child: ChildProcess) -> None:
        """Begin in a child."""
        self._child = child
        self.entered = time.monotonic()
        child.run(self, self._run, self._start)

    @property
    def was_interrupted(self) -> bool:
        """Return True if the handler was asked to stop."""
        return self.call.context.interrupt.reason is not None

    def begun(self) -> None:
        """Note that the child calls the handler now."""
        self.started = time.monotonic()
        self._on_begun()

    def interrupt(self, reason: Interruption) -> None:
        """Tell the child, which raises `Interrupted` in the handler and sends SIGTERM to the processes it started.

        It is the child that signals, not the worker: so the handler always knows why before the signal is there, and
        a SIGTERM from outside (systemd sends one to every process of a service) interrupts no handler.
        """
        if self.is_over or not self.call.context.interrupt.set(reason):
            return
        if self._child is None:
            self.tell(None, asyncio.CancelledError())
        else:
            self._child.send({"interrupt": reason})

    def abandon(self) -> None:
        """Kill the child and every process that the handler started."""
        self.tell(None, Abandoned("the handler did not stop when asked to; its process was killed"))
        if self._child is not None:
            self._child.kill()


class ProcessExecutor:
    """`Executor` with child processes, on POSIX systems.

    Args:
        slots: how many children to keep at most when they are idle.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._children: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []
        self._waiting: deque[ProcessExecution] = deque()  # for a child; some may be over by now
        self._growing: asyncio.TimerHandle | None = None
        self._numbers = 0
        self._stopped = False

    @property
    def abandoned(self) -> int:
        """Return 0: a killed process occupies nothing."""
        return 0

    @property
    def pids(self) -> frozenset[int]:
        """Return the process ids of the children that live."""
        return frozenset(child.pid for child in self._children)

    async def start(self) -> None:
        """Start one child beforehand."""
        self._stopped = False
        self._warm_up()

    async def stop(self) -> None:
        """Kill all children and what they started; none is left, not as a zombie either."""
        self._stopped = True
        if self._growing is not None:
            self._growing.cancel()
            self._growing = None
        while self._waits():
            self._waiting.popleft().abandon()
        children = tuple(self._children)
        for child in children:
            child.dismiss()
        # Cancelled are they, where the whole loop is taken down.
        await asyncio.gather(*(child.ended for child in children), return_exceptions=True)

    def begin(self, call: Call, on_end: OnEnd) -> ProcessExecution:
        """Begin to run a handler, in an idle child, a new one, or the one that is free first.

        It ends with an OSError if the system has no process to give. Raises ConfigurationError if it can't be imported,
        and PermanentError if its facts are too long for a message.
        """
        self._numbers += 1
        target = importable_target(call.job_type.handler)
        facts = wire.FACTS.dump_python(call.facts, mode="json")
        start = wire.line({"start": facts, "target": target, "run": self._numbers})
        execution = ProcessExecution(call, on_end, self._numbers, start, self._grow)
        self._waiting.append(execution)
        self._grow()
        return execution

    def _waits(self) -> bool:
        """Return True if any waits for a child; those in front that are over are forgotten."""
        while self._waiting and self._waiting[0].is_over:
            self._waiting.popleft()
        return bool(self._waiting)

    def _coming_up(self) -> int:
        return sum(child.is_loading for child in self._children)

    def _grow(self, least: int = 0) -> None:
        """Have those that wait begin, in idle children and in as many new ones as may come up: `least` in any case."""
        at_once = max(_AT_ONCE, least)
        while self._waits() and (self._idle or self._coming_up() < at_once):
            try:
                child = self._idle.pop() if self._idle else self._launch()
            except OSError as error:
                if self._children:
                    break  # one of these will do it
                self._waiting.popleft().tell(None, error)
            else:
                self._waiting.popleft().enter(child)
        if self._waits() and self._growing is None:
            self._growing = asyncio.get_running_loop().call_later(_PATIENCE, self._grow_by_one)

    def _grow_by_one(self) -> None:
        self._growing = None
        self._grow(self._coming_up() + 1)

    def _launch(self) -> ChildProcess:
        child = ChildProcess(self._on_idle, self._on_end)
        self._children.add(child)
        return child

    def _warm_up(self) -> None:
        # If there is none to be had, whoever needs one is told so.
        with suppress(OSError):
            self._idle.append(self._launch())

    def _on_idle(self, child: ChildProcess) -> None:
        if self._stopped:
            child.kill()
            return
        self._idle.append(child)
        self._grow()
        if len(self._idle) > self._slots:
            self._idle.remove(child)
            child.kill()

    def _on_end(self, child: ChildProcess) -> None:
        self._children.discard(child)
        with suppress(ValueError):
            self._idle.remove(child)
        if self._stopped:
            return
        self._grow()
        # One that never came up is not replaced unasked: the next would do no better, and so for ever.
        if child.came_up and not self._idle and not self._waits() and len(self._children) < self._slots:
            self._warm_up()
