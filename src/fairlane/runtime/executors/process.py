"""Runs handlers in processes of their own, which can be killed, and whose crash hurts nobody else.

Each child is started beforehand, in its own session, and runs one handler after the other. One that was interrupted
or that died is replaced. What the two sides say to each other is in `wire`, the other side is `child`.
"""

import asyncio
import time
from contextlib import suppress

from fairlane.runtime.executors import wire
from fairlane.runtime.executors.base import Abandoned, Call, Execution, OnEnd
from fairlane.runtime.executors.child_process import ChildProcess
from fairlane.runtime.executors.target import importable_target
from fairlane.runtime.reports import Interruption


class ProcessExecution(Execution):
    """`Execution` in a child process."""

    def __init__(self, call: Call, on_end: OnEnd, child: ChildProcess) -> None:
        super().__init__(call, on_end)
        self.started = None
        self._child = child

    @property
    def was_interrupted(self) -> bool:
        """Whether the handler was asked to stop."""
        return self.call.context.interrupt.reason is not None

    def begun(self) -> None:
        """The child calls the handler now."""
        self.started = time.monotonic()

    def interrupt(self, reason: Interruption) -> None:
        """Tell the child, which raises `Interrupted` in the handler and sends SIGTERM to the processes it started.

        It is the child that signals, not the worker: so the handler always knows why before the signal is there, and
        a SIGTERM from outside (systemd sends one to every process of a service) interrupts no handler.
        """
        if not self.is_over and self.call.context.interrupt.set(reason):
            self._child.send({"interrupt": reason})

    def abandon(self) -> None:
        """Kill the child and every process that the handler started."""
        self.tell(None, Abandoned("the handler did not stop when asked to; its process was killed"))
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
        self._numbers = 0
        self._stopped = False

    @property
    def abandoned(self) -> int:
        """None: a killed process occupies nothing."""
        return 0

    @property
    def pids(self) -> frozenset[int]:
        """The process ids of the children that live."""
        return frozenset(child.pid for child in self._children)

    async def start(self) -> None:
        """Start one child beforehand."""
        self._stopped = False
        self._warm_up()

    async def stop(self) -> None:
        """Kill all children and what they started; none is left, not as a zombie either."""
        self._stopped = True
        children = tuple(self._children)
        for child in children:
            child.dismiss()
        await asyncio.gather(*(child.ended for child in children))

    def begin(self, call: Call, on_end: OnEnd) -> ProcessExecution:
        """Begin to run a handler, in an idle child or a new one.

        Raises ConfigurationError if it can't be imported, PermanentError if its facts are too long for a message, and
        OSError if the system has no process to give.
        """
        self._numbers += 1
        target = importable_target(call.job_type.handler)
        facts = wire.FACTS.dump_python(call.facts, mode="json")
        start = wire.line({"start": facts, "target": target, "run": self._numbers})
        child = self._idle.pop() if self._idle else self._launch()
        execution = ProcessExecution(call, on_end, child)
        child.run(execution, self._numbers, start)
        return execution

    def _launch(self) -> ChildProcess:
        child = ChildProcess(self._on_idle, self._on_end)
        self._children.add(child)
        return child

    def _warm_up(self) -> None:
        # If there is none to be had, whoever needs one is told so.
        with suppress(OSError):
            self._idle.append(self._launch())

    def _on_idle(self, child: ChildProcess) -> None:
        if self._stopped or len(self._idle) >= self._slots:
            child.kill()
        else:
            self._idle.append(child)

    def _on_end(self, child: ChildProcess) -> None:
        self._children.discard(child)
        with suppress(ValueError):
            self._idle.remove(child)
        # One that never came up is not replaced unasked: the next would do no better, and so for ever.
        if child.came_up and not self._idle and len(self._children) < self._slots and not self._stopped:
            self._warm_up()
