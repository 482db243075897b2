"""The supervisor: it keeps a number of worker processes alive, and stops them on request.

Each child has a session of its own, so that Ctrl-C reaches it once, from the supervisor, and not a second time from the
terminal: a second signal would end the grace of its jobs. A pipe tells a child that its supervisor is gone, for any
reason: only the supervisor can write to it, the system closes it with the process, and the child reads its end.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from fairlane.engine.service import wait_until

EXIT_REPLACE: Final = 75  # a supervisor starts another worker in place of one that ended like this (EX_TEMPFAIL)
_LIFELINE: Final = "FAIRLANE_LIFELINE"  # a child's end of the pipe, in its environment
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds before a child that ended unasked is replaced
_STEADY: Final = 60.0  # seconds after which a child counts as having worked

_log = logging.getLogger("fairlane")


class Supervisor:
    """Run worker processes, and replace those that end.

    Args:
        commands: the command line of each child.
    """

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._commands = commands
        self._running: set[Process] = set()
        self._asked = 0
        self._stopping = asyncio.Event()
        self._lifeline, self._held = -1, -1

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, pass each on once, and wait for all children."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self._lifeline, self._held = os.pipe()
        try:
            async with asyncio.TaskGroup() as keepers:
                for command in self._commands:
                    keepers.create_task(self._keep(command))
        finally:
            os.close(self._held)
            os.close(self._lifeline)

    def _stop(self) -> None:
        self._asked += 1
        self._stopping.set()
        for child in self._running:
            _ask_to_stop(child)

    async def _keep(self, command: Sequence[str]) -> None:
        """Run a child, and the next one when it ends."""
        wait = _FIRST_WAIT
        while not self._stopping.is_set():
            began = time.monotonic()
            child, code = await self._run_one(command)
            if self._stopping.is_set():
                return
            lived = time.monotonic() - began
            if lived >= _STEADY:
                wait = _FIRST_WAIT
            if code == EXIT_REPLACE and lived >= _FIRST_WAIT:
                _log.warning("Worker process %d asked to be replaced; another one starts.", child.pid)
                continue
            _log.error("Worker process %d %s; another one starts in %.0f s.", child.pid, _how_it_ended(code), wait)
            await wait_until(self._stopping, wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _run_one(self, command: Sequence[str]) -> tuple[Process, int]:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            env=os.environ | {_LIFELINE: str(self._lifeline)},
            pass_fds=[self._lifeline],
            start_new_session=True,
        )
        self._running.add(child)
        # The stop came while the child was being started, so it has not heard of it yet.
        for _ in range(self._asked):
            _ask_to_stop(child)
        try:
            return child, await child.wait()
        finally:
            self._running.discard(child)


def stop_with_supervisor() -> bool:
    """In a child, stop as by SIGTERM when the supervisor is gone. Elsewhere do nothing, and return False."""
    descriptor = os.environ.pop(_LIFELINE, None)
    if descriptor is None:
        return False
    # Processes that a handler starts must not inherit it: only this process is tied to the supervisor.
    os.set_inheritable(int(descriptor), False)
    threading.Thread(target=_wait_for_end, args=[int(descriptor)], name="fairlane-lifeline", daemon=True).start()
    return True


def _wait_for_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        """Ignore data: nobody writes, and only the end arrives."""
    os.kill(os.getpid(), signal.SIGTERM)


def _ask_to_stop(child: Process) -> None:
    # SIGTERM for Ctrl-C, too: a child that is still being imported would answer SIGINT with a traceback.
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}"
