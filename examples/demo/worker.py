"""A worker beside the one who watches: in a thread of the same process."""

import asyncio
import threading
from types import TracebackType
from typing import Final, Self

from fairlane import Fairlane
from fairlane.domain.events import Event, WorkerStarted

_CONCURRENCY: Final = 8


class BackgroundWorker:
    """A worker on a loop of its own, in a thread, while it is entered. After an error there it gives no grace."""

    def __init__(self, fl: Fairlane) -> None:
        self._worker = fl.worker(queues=None, concurrency=_CONCURRENCY, name="demo", subscribers=[self._hear])
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fairlane-worker")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        self._raise_error()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.stop(at_once=kind is not None)
        self._thread.join()
        if kind is None:
            self._raise_error()

    def _hear(self, event: Event) -> None:
        if isinstance(event, WorkerStarted):
            self._started.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._worker.run_async())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._error = error
        finally:
            self._started.set()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
