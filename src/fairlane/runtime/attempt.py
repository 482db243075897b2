"""Running one attempt is a recipe: decode → context → begin → wait for its end, its deadline or a stop → outcome."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fairlane.domain.classify import classify
from fairlane.domain.errors import InvalidParameters, Snooze
from fairlane.domain.events import HandlerAbandoned
from fairlane.domain.outcomes import Completed, ErrorReport, Failed, Outcome, Released, Snoozed, Stopped, TimedOut
from fairlane.registry.job_types import JobType
from fairlane.registry.options import Isolation
from fairlane.registry.parameters_values import encode_result
from fairlane.runtime.context import Interrupt, Interrupted, JobContext
from fairlane.runtime.executors.base import Abandoned, Call, Execution, Executor
from fairlane.runtime.reporter import AttemptChannel, Desk
from fairlane.runtime.reports import AttemptFacts, Interruption


@dataclass(frozen=True, slots=True)
class Bench:
    """What all attempts of a worker share. Times in seconds, `result_limit` in bytes."""

    desk: Desk
    executors: dict[Isolation, Executor]
    stop_grace: float
    result_limit: int


class Attempt:
    """One attempt of one job, while it runs on this worker."""

    def __init__(
        self, bench: Bench, job_type: JobType[..., object], facts: AttemptFacts, channel: AttemptChannel
    ) -> None:
        self.facts = facts
        self.job_type = job_type
        self._bench = bench
        self._channel = channel
        self._stop: asyncio.Future[Interruption] = asyncio.get_running_loop().create_future()

    def stop(self, reason: Interruption) -> bool:
        """Ask the handler to stop, on the loop's thread. The first reason stands; False if this was not the first."""
        if self._stop.done():
            return False
        self._stop.set_result(reason)
        return True

    @property
    def is_lost(self) -> bool:
        """Whether the job was given to another worker meanwhile: then its end is nobody's business."""
        return self._stop.done() and self._stop.result() is Interruption.LEASE_LOST

    async def run(self) -> Outcome:
        """Run the handler to its end, whatever that is; never raises for what a handler or its values do."""
        try:
            call = self._call()
        except InvalidParameters as error:
            # Another version of the handler may be able to read it, so it backs off like any failure.
            return Failed(
                ErrorReport("InvalidParameters", str(error), fingerprint=f"InvalidParameters {self.job_type.name}")
            )
        except Exception as error:  # noqa: BLE001 - a validator of the handler's own
            return self._failure(error)
        try:
            execution = self._bench.executors[self.job_type.isolation].begin(call)
        except Exception as error:  # noqa: BLE001 - no thread or process to be had: the attempt failed, not the worker
            return self._failure(error)
        reason = await self._wait(execution)
        return self._outcome(execution, reason)

    def _call(self) -> Call:
        job_type, facts = self.job_type, self.facts
        # A child decodes once more for itself: values never cross the process boundary. Here it is tried, so that what
        # can't be decoded ends the same whatever the isolation.
        arguments = job_type.signature.decode(facts.parameters)
        context = JobContext(
            facts,
            self._channel,
            Interrupt(),
            blocking=job_type.isolation is not Isolation.ASYNC,
            read_artifact=self._read_artifact,
        )
        return Call(job_type=job_type, arguments=arguments, context=context, facts=facts, channel=self._channel)

    def _read_artifact(self, parent_id: UUID, name: str) -> bytes:
        path = next(parent.artifacts[name] for parent in self.facts.parents if parent.id == parent_id)
        return self._bench.desk.storage.get(path)

    async def _wait(self, execution: Execution) -> Interruption | None:
        """Until the handler has ended, by itself (None) or because it was stopped, and why."""
        ended = execution.finished
        either: set[asyncio.Future[Any]] = {ended, self._stop}
        await asyncio.wait(either, timeout=self.facts.timeout, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return None
        reason = self._stop.result() if self._stop.done() else Interruption.TIMEOUT
        execution.interrupt(reason)
        await asyncio.wait({ended}, timeout=self._bench.stop_grace)
        if not ended.done():
            if self.job_type.isolation is not Isolation.PROCESS:
                facts = self.facts
                self._bench.desk.emit(HandlerAbandoned(facts.organization, facts.job_id, facts.job_type))
            execution.abandon()
            await asyncio.wait({ended})
        return reason

    def _outcome(self, execution: Execution, reason: Interruption | None) -> Outcome:
        error = execution.finished.exception()
        match reason:
            case Interruption.TIMEOUT:
                seconds = self.facts.timeout or 0.0
                report = ErrorReport(
                    "TimedOut", f"ran past its timeout of {seconds:g} s", fingerprint=f"TimedOut {self.job_type.name}"
                )
                return TimedOut(report, seconds)
            case Interruption.CANCEL if error is not None:
                return Stopped(str(error)) if isinstance(error, Abandoned) else Stopped()
            case Interruption.SHUTDOWN if error is not None:
                return Released("released at shutdown")
            case _ if error is not None:
                return self._failure(error)
            case _:
                return self._success(execution.finished.result())

    def _success(self, value: object) -> Outcome:
        try:
            return Completed(encode_result(value, limit=self._bench.result_limit))
        except Exception as error:  # noqa: BLE001 - the handler's own objects take part in it
            return self._failure(error)

    def _failure(self, error: BaseException) -> Outcome:
        if isinstance(error, Snooze):
            return Snoozed(error.seconds, error.reason)
        if isinstance(error, Interrupted):
            return Stopped("the handler stopped")
        errors = self.job_type.errors
        return Failed(classify(error, transient=errors.transient, permanent=errors.permanent))
