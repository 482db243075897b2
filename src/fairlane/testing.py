"""Tools for the tests of applications: a clock that only moves when told, and a context for a single handler.

There is no fake engine: in-memory SQLite is the real store, and `worker().drain()` the real worker.
"""

import json
import threading
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Connection

from fairlane.domain.statuses import JobStatus
from fairlane.encryption.pieces import pieces_of
from fairlane.engine.context import Interrupt, JobContext, Parent
from fairlane.engine.reports import AttemptInputs, Checkpoint, File, Interruption, LoggedLine, Progress, Report

__all__ = ["ManualClock", "RecordingContext"]

_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A clock that stands still until it is moved: `Fairlane("sqlite://", clock=clock)`, then `clock.advance(60)`.

    Args:
        start: the first moment; aware.
    """

    def __init__(self, start: datetime = _BEGINNING) -> None:
        self._now = start
        self._lease = 0.0
        self._lock = threading.Lock()

    def advance(self, seconds: float) -> None:
        """Move all its times forward."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._lease += seconds

    def now(self, connection: Connection) -> datetime:
        """Return the moment."""
        return self._now

    def lease_seconds(self, connection: Connection) -> float:
        """Return the seconds since the start."""
        return self._lease

    def boot_id(self, connection: Connection) -> str:
        """Return the same boot always."""
        return ""


class RecordingContext(JobContext):
    """A context for a test that calls a handler: `send_invoice(ctx, 7)`. It keeps the handler's reports.

    A worker masks secret parameters in the reports of a handler. Here they stay in clear, as no schema says what is
    secret.

    Args:
        organization, user, job_type, labels, headers, attempt: the job's values that the handler sees.
        parameters: for handlers that read `ctx.parameters`; the arguments are given in the call.
        checkpointed: the state that an earlier attempt left.
        parents: made by `finished_parent`.

    Attributes:
        lines: the lines that it wrote with `ctx.log`.
        reported: its progress, as pairs of percent and message.
        checkpoints: the states that it kept, decoded from JSON.
        files: its artifacts' bytes by name.
    """

    def __init__(  # noqa: PLR0913 - each is a value of the job
        self,
        *,
        organization: str = "acme",
        user: str | None = None,
        job_type: str = "test",
        labels: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        attempt: int = 1,
        parameters: Mapping[str, Any] | None = None,
        checkpointed: Any = None,
        parents: Sequence[Parent] = (),
    ) -> None:
        inputs = AttemptInputs(
            organization=organization,
            job_id=uuid4(),
            job_type=job_type,
            user=user,
            attempt=attempt,
            lease_token=uuid4(),
            parameters=json.dumps(parameters or {}),
            labels=labels or {},
            timeout=None,
            checkpoint=None if checkpointed is None else json.dumps(checkpointed),
            headers=json.dumps(dict(headers or {})),
        )
        self.lines: Final[list[str]] = []
        self.reported: Final[list[tuple[float | None, str | None]]] = []
        self.checkpoints: Final[list[Any]] = []
        self.files: Final[dict[str, bytes]] = {}
        self._given_parents = tuple(parents)
        # Blocking: each report is done when the call returns, and an `async def` handler may await what it returned.
        super().__init__(inputs, _Recorder(self), Interrupt(), blocking=True)

    @property
    def _secrets(self) -> tuple[str, ...]:
        return ()

    @property
    def parents(self) -> tuple[Parent, ...]:
        """Return the jobs that this one depended on."""
        return self._given_parents

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Take no time. Raises Interrupted in a handler that was asked to stop."""
        return super().sleep(0)

    def cancel(self) -> None:
        """Stop the handler as a cancel does.

        `is_canceled()` is true, and its next call of the context raises `fairlane.Interrupted`.
        """
        self.interrupt.set(Interruption.CANCEL)

    @staticmethod
    def finished_parent(
        result: Any = None,
        *,
        job_type: str = "test",
        status: JobStatus = JobStatus.COMPLETED,
        labels: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Parent:
        """Return a parent that has ended, for `parents=[…]`.

        Args:
            result: the value that its handler returned, as JSON gives it back: a Decimal is text, a tuple a list.
            files: its artifacts' bytes by name.
        """
        left = dict(files or {})
        return Parent(
            uuid4(), job_type, status, result, labels or {}, tuple(left), lambda _job, name: iter([left[name]])
        )


class _Recorder:
    """The channel from the context to its lists."""

    def __init__(self, context: RecordingContext) -> None:
        self._context = context

    def send(self, report: Report) -> "Future[Any]":
        """Keep the report."""
        match report:
            case Progress():
                self._context.reported.append((report.percent, report.message))
            case LoggedLine():
                self._context.lines.append(report.message)
            case Checkpoint():
                self._context.checkpoints.append(json.loads(report.state))
            case File():
                self._context.files[report.name] = b"".join(pieces_of(report.data))
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def read_artifact(self, _parent_id: UUID, name: str) -> Iterator[bytes]:
        """Refuse: the parents of a test have their files with them."""
        raise FileNotFoundError(name)
