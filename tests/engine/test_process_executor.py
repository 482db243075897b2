"""Handlers in processes of their own. These are real processes."""

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from fairlane.domain.errors import PermanentError
from fairlane.domain.statuses import JobStatus
from fairlane.engine.context import Interrupted
from fairlane.engine.executors import process, wire
from fairlane.engine.executors.base import Abandoned, NotBegun, ProcessDied
from fairlane.engine.executors.process import ProcessExecutor
from fairlane.engine.reports import Checkpoint, File, Interruption, LoggedLine, ParentInput, Progress, Report
from fairlane.jobtypes.options import Isolation
from tests.engine import handlers
from tests.engine.recording import Begun, RecordingChannel, Watched, call, end_of
from tests.patience import PATIENCE

# One executor for all tests, as it is one for all jobs; what a test kills is replaced.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", name="executor")
async def executor_of_all() -> AsyncIterator[ProcessExecutor]:
    executor = ProcessExecutor(3)
    await executor.start()
    yield executor
    pids = executor.pids
    await executor.stop()
    # Reaped too: a zombie would still be there.
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest_asyncio.fixture(loop_scope="module")
async def channel() -> RecordingChannel:
    return RecordingChannel()


def begin(
    executor: ProcessExecutor,
    handler: Callable[..., Any],
    channel: RecordingChannel | None = None,
    parents: tuple[ParentInput, ...] = (),
    **parameters: object,
) -> Begun:
    return Begun(executor, call(handler, parameters, isolation=Isolation.PROCESS, channel=channel, parents=parents))


async def test_the_result_comes_back(executor: ProcessExecutor) -> None:
    assert await end_of(begin(executor, handlers.add, a=1)) == 2
    assert await end_of(begin(executor, handlers.pid)) != os.getpid()


async def test_parameters_arrive_typed(executor: ProcessExecutor) -> None:
    page = {"number": 1}
    assert await end_of(begin(executor, handlers.typed, day="2026-11-01", page=page)) == ["date", "Page", "2027"]


async def test_a_good_child_is_reused(executor: ProcessExecutor) -> None:
    first = await end_of(begin(executor, handlers.pid))
    assert await end_of(begin(executor, handlers.pid)) == first
    assert first in executor.pids


async def test_the_context_is_the_same_as_elsewhere(executor: ProcessExecutor) -> None:
    result = '{"rows":[1,{"$secret":"hunter22"}]}'  # as it is stored
    parent = ParentInput(uuid4(), "import", JobStatus.COMPLETED, result, {}, {"a.txt": ("acme/a.txt", 1)})
    execution = begin(executor, handlers.describe, parents=(parent,))
    assert await end_of(execution) == {
        "organization": "acme",
        "attempt": 2,
        "lease": str(execution.execution.call.inputs.lease_token),
        "labels": {"doc": "42"},
        "parents": [[str(parent.id), str(JobStatus.COMPLETED), {"rows": [1, "hunter22"]}, f"{parent.id} a.txt"]],
    }


async def test_what_is_too_long_for_a_message_is_refused_before_one_is_made(executor: ProcessExecutor) -> None:
    """To make it, and then to see that it is too long, held up the loop for seconds."""
    parents = [ParentInput(uuid4(), "import", JobStatus.COMPLETED, f'"{"x" * 1_000_000}"') for _ in range(17)]
    with pytest.raises(PermanentError, match="can't be passed"):
        begin(executor, handlers.describe, parents=tuple(parents))


async def test_what_is_too_long_in_bytes_is_refused_before_a_message_is_made(executor: ProcessExecutor) -> None:
    """A message of 190 MB was made of these, which took half a second of the loop."""
    result = json.dumps("\N{GRINNING FACE}" * 250_000, ensure_ascii=False)
    parents = tuple(ParentInput(uuid4(), "import", JobStatus.COMPLETED, result) for _ in range(60))
    attempt = call(handlers.describe, isolation=Isolation.PROCESS, parents=parents)
    tracemalloc.start()
    try:
        with pytest.raises(PermanentError, match="can't be passed"):
            Begun(executor, attempt)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


async def test_what_a_parent_left_that_is_no_json_is_told_and_the_child_goes_on(executor: ProcessExecutor) -> None:
    """It took the child with it, and was told as memory that had run out."""
    pid = await end_of(begin(executor, handlers.pid))
    parent = ParentInput(uuid4(), "import", JobStatus.COMPLETED, "planted")
    report = await end_of(begin(executor, handlers.describe, parents=(parent,)))
    assert "the result of a parent is no JSON" in report.message
    assert await end_of(begin(executor, handlers.pid)) == pid


async def test_quotes_that_are_escaped_on_the_way_do_not_make_results_too_long(
    executor: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "LINE_LIMIT", 5_000)
    parent = ParentInput(uuid4(), "import", JobStatus.COMPLETED, json.dumps(["x"] * 800))
    assert await end_of(begin(executor, handlers.add, a=1)) == 2
    assert await end_of(begin(executor, handlers.pid, parents=(parent,)))


async def test_reports_cross_over(executor: ProcessExecutor, channel: RecordingChannel, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"of a file")
    await end_of(begin(executor, handlers.report_all, channel, path=str(source)))
    assert channel.reports[:-1] == [
        Progress(10.0, "begun"),
        LoggedLine("warning", "look out"),
        Checkpoint('{"page":3}'),
        File("a.txt", "ä".encode()),
        File("b.txt", b"of a file", "text/x-test"),
    ]
    assert channel.reports[-1] == Progress(100.0, "done")
    assert source.exists()


async def test_files_of_a_child_are_removed_beside_the_loop(
    executor: ProcessExecutor, channel: RecordingChannel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A child that was killed with a large artifact on its way held up the loop until that was deleted."""
    threads: list[int] = []
    removed = threading.Event()
    rmtree, unlink = shutil.rmtree, Path.unlink

    def remove_tree(path: Path, *, ignore_errors: bool) -> None:
        threads.append(threading.get_ident())
        rmtree(path, ignore_errors=ignore_errors)
        removed.set()

    def remove(path: Path, *, missing_ok: bool = False) -> None:
        threads.append(threading.get_ident())
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(shutil, "rmtree", remove_tree)
    monkeypatch.setattr(Path, "unlink", remove)
    source = tmp_path / "source"
    source.write_bytes(b"of a file")
    await end_of(begin(executor, handlers.report_all, channel, path=str(source)))
    os.kill(await end_of(begin(executor, handlers.pid)), signal.SIGKILL)
    assert await asyncio.to_thread(removed.wait, PATIENCE)
    assert len(threads) > 1
    assert threading.get_ident() not in threads


async def test_async_handlers_run_there_too(executor: ProcessExecutor, channel: RecordingChannel) -> None:
    assert await end_of(begin(executor, handlers.report_async, channel)) in executor.pids
    assert channel.reports == [Progress(50.0, None), Checkpoint('"state"'), File("unawaited.txt", b"data")]


async def test_a_report_that_could_not_be_kept_is_an_error_in_the_handler(executor: ProcessExecutor) -> None:
    channel = RecordingChannel(OSError("disk full"))
    assert await end_of(begin(executor, handlers.checkpoint, channel)) == "OSError: disk full"


async def test_a_flood_of_progress_is_thinned_and_the_last_arrives(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    await end_of(begin(executor, handlers.flood, channel))
    assert channel.reports[0] == Progress(0.0, None)
    assert channel.reports[-1] == Progress(100.0, "last")
    assert len(channel.reports) < 1000


async def test_the_error_comes_back(executor: ProcessExecutor) -> None:
    report = await end_of(begin(executor, handlers.fail, how="own transient"))
    assert (report.error_type, report.message, report.retry_after) == ("ServiceDown", "down", 7)
    assert "handlers.py" in report.traceback
    report = await end_of(begin(executor, handlers.fail, how="exit"))
    assert report.error_type == "HandlerQuit"
    assert "SystemExit" in report.message
    report = await end_of(begin(executor, handlers.unstorable))
    assert report.error_type == "PermanentError"
    assert "result can't be stored" in report.message


async def test_an_interrupt_stops_a_sleep_and_clean_up_runs(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    execution = begin(executor, handlers.sleep, channel)
    await channel.said("begun")
    execution.interrupt(Interruption.TIMEOUT)
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted) as raised:
        await end_of(execution)
    assert raised.value.reason is Interruption.TIMEOUT
    assert channel.reports[1:] == [LoggedLine("info", "cleaned up"), Checkpoint('"so far"')]


async def test_an_interrupt_stops_what_does_not_ask(executor: ProcessExecutor, channel: RecordingChannel) -> None:
    execution = begin(executor, handlers.sleep_deaf, channel)
    pid = int(await channel.said("begun "))
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(execution)
    assert channel.lines == [f"begun {pid}", "canceled: True"]
    # An interrupted child is replaced.
    assert await end_of(begin(executor, handlers.pid)) != pid


async def test_it_has_started_when_the_child_begins_the_handler(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    execution = begin(executor, handlers.sleep, channel)
    assert execution.execution.started is None
    await channel.said("begun")
    assert execution.execution.started is not None
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(execution)


async def test_an_interrupt_stops_what_its_first_signal_came_too_early_for(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    execution = begin(executor, handlers.sleep_twice, channel)
    await channel.said("begun")
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(execution)


@pytest.mark.slow
async def test_an_interrupt_before_the_child_is_up_stops_too(executor: ProcessExecutor) -> None:
    execution = begin(executor, handlers.sleep)
    execution.interrupt(Interruption.SHUTDOWN)
    with pytest.raises(Interrupted):
        await end_of(execution)


async def test_an_interrupt_cancels_async_handlers(executor: ProcessExecutor, channel: RecordingChannel) -> None:
    execution = begin(executor, handlers.sleep_async, channel)
    await channel.said("begun")
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(execution)
    assert channel.of(Checkpoint) == [Checkpoint('"so far"')]


async def test_an_interrupted_handler_may_still_return(executor: ProcessExecutor, channel: RecordingChannel) -> None:
    execution = begin(executor, handlers.wait_for_stop, channel)
    await channel.said("begun")
    execution.interrupt(Interruption.CANCEL)
    assert await end_of(execution) == "returned all the same"


async def test_a_signal_from_outside_interrupts_nobody(executor: ProcessExecutor) -> None:
    assert await end_of(begin(executor, handlers.signaled_from_outside)) == "went on"


async def test_one_that_ignores_sigterm_is_killed_with_what_it_started(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    execution = begin(executor, handlers.ignore_all, channel)
    watched = [Watched(int(pid)) for pid in (await channel.said("pids ")).split()]
    execution.interrupt(Interruption.TIMEOUT)
    execution.abandon()
    assert execution.finished.done()
    with pytest.raises(Abandoned, match="killed"):
        await execution.finished
    assert all(process.has_ended() for process in watched)
    assert not executor.left_behind


async def test_a_crash_is_an_error_of_its_job_alone(executor: ProcessExecutor, channel: RecordingChannel) -> None:
    other = begin(executor, handlers.sleep, channel)
    await channel.said("begun")
    ends = {"exit": "ended with exit code 3", "segfault": "was killed by SIGSEGV"}
    crashes = [(begin(executor, handlers.die, how=how), what) for how, what in ends.items()]
    for crash, what in crashes:
        with pytest.raises(ProcessDied, match=what):
            await end_of(crash)
    assert await end_of(begin(executor, handlers.add, a=1)) == 2
    assert not other.finished.done()
    other.abandon()
    assert isinstance(other.finished.exception(), Abandoned)


@pytest.mark.slow
async def test_a_crash_is_noticed_though_a_forked_process_lives_on_and_ends_it(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    execution = begin(executor, handlers.start_and_exit, channel, how="segfault")
    forked = Watched(int(await channel.said("pid ")))
    with pytest.raises(ProcessDied):
        await end_of(execution)
    assert forked.has_ended()


async def test_nobody_speaks_in_the_name_of_another_job(
    executor: ProcessExecutor, channel: RecordingChannel, tmp_path: Path
) -> None:
    path, first = str(tmp_path / "speak"), RecordingChannel()
    pid = await end_of(begin(executor, handlers.leave_thread, first, path=path))
    assert await end_of(begin(executor, handlers.wake_thread, channel, path=path)) == pid
    assert first.reports == channel.reports == []


async def test_what_is_too_long_for_a_message_is_refused(
    executor: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await end_of(begin(executor, handlers.add, a=1)) == 2
    monkeypatch.setattr(wire, "LINE_LIMIT", 100)
    with pytest.raises(PermanentError, match="100 are allowed"):
        begin(executor, handlers.add, a=1)


async def test_a_child_that_dies_idle_is_replaced(executor: ProcessExecutor) -> None:
    pid = await end_of(begin(executor, handlers.pid))
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while pid in executor.pids:  # noqa: ASYNC110 - its end is a task of the executor
            await asyncio.sleep(0.001)
    assert executor.pids
    assert await end_of(begin(executor, handlers.pid)) in executor.pids


async def test_stop_ends_what_still_runs(channel: RecordingChannel) -> None:
    executor = ProcessExecutor(1)
    execution = begin(executor, handlers.ignore_all, channel)
    watched = [Watched(int(pid)) for pid in (await channel.said("pids ")).split()]
    await executor.stop()
    with pytest.raises(Abandoned):
        await execution.finished
    assert all(process.has_ended() for process in watched)
    assert not executor.pids


@pytest_asyncio.fixture(loop_scope="module")
async def narrow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessExecutor]:
    """Yield an executor that lets one child start at a time, and never takes a child for hanging."""
    monkeypatch.setattr(process, "_AT_ONCE", 1)
    monkeypatch.setattr(process, "_HANGS_AFTER", 3600.0)
    executor = ProcessExecutor(3)
    yield executor
    await executor.stop()


@pytest.mark.slow
async def test_who_needs_a_child_while_others_come_up_takes_whichever_is_free_first(narrow: ProcessExecutor) -> None:
    executions = [begin(narrow, handlers.pid) for _ in range(5)]
    assert len(narrow.pids) == 1
    pids = [await end_of(execution) for execution in executions]
    # Each comes up after the one before it, which by then runs what waits.
    assert len(set(pids)) < len(pids)


async def test_one_that_hangs_as_it_comes_up_holds_up_no_other(
    narrow: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_HANGS_AFTER", 0.01)
    hanging = begin(narrow, handlers.add, a=1)
    (pid,) = narrow.pids
    os.kill(pid, signal.SIGSTOP)
    assert await end_of(begin(narrow, handlers.add, a=2)) == 3
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProcessDied):
        await end_of(hanging)


async def test_an_interrupt_ends_one_that_waits_for_a_child(narrow: ProcessExecutor) -> None:
    begin(narrow, handlers.sleep)
    waiting = begin(narrow, handlers.add, a=1)
    waiting.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(waiting)
    assert waiting.execution.started is None


async def test_stop_ends_what_waits_for_a_child(narrow: ProcessExecutor) -> None:
    executions = [begin(narrow, handlers.sleep) for _ in range(2)]
    await narrow.stop()
    for execution in executions:
        with pytest.raises(Abandoned):
            await execution.finished


@pytest.mark.slow
async def test_nobody_overtakes_who_waits(narrow: ProcessExecutor) -> None:
    executions = [begin(narrow, handlers.pid) for _ in range(3)]
    await end_of(executions[0])
    executions.append(begin(narrow, handlers.pid))
    for execution in executions:
        await end_of(execution)
    entered = [execution.execution.entered for execution in executions]
    assert entered == sorted(entered)


def begin_of(organization: str, executor: ProcessExecutor, handler: Callable[..., Any], **parameters: object) -> Begun:
    attempt = call(handler, parameters, isolation=Isolation.PROCESS)
    return Begun(executor, attempt._replace(inputs=attempt.inputs._replace(organization=organization)))


@pytest.mark.slow
async def test_an_organization_whose_runs_end_their_children_pays_for_them_while_it_can(
    narrow: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs waited in one line, and the next run of that organization took each child that another had freed."""
    ending = [begin_of("evil", narrow, handlers.leave_process, how="returns") for _ in range(4)]
    before = [one for one in ending if one.execution.entered is not None]
    neighbours = begin_of("good", narrow, handlers.pid)
    pid = await end_of(neighbours)
    entered = [one for one in ending if one.execution.entered and one.execution.entered < neighbours.execution.entered]
    assert len(entered) <= len(before) + 1
    assert await end_of(begin_of("good", narrow, handlers.pid)) == pid
    monkeypatch.setattr(process, "ChildProcess", refuse)
    *_, last_new, last = [await end_of(one) for one in ending]
    assert last_new != last == pid


async def test_while_the_system_has_no_more_processes_those_that_there_are_do_it(
    narrow: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begin(narrow, handlers.pid)
    monkeypatch.setattr(process, "ChildProcess", refuse)
    assert await end_of(begin(narrow, handlers.pid)) == await end_of(first)


async def test_who_waits_is_told_when_there_is_no_process_left(
    narrow: ProcessExecutor, channel: RecordingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begin(narrow, handlers.sleep, channel)
    await channel.said("begun")
    monkeypatch.setattr(process, "ChildProcess", refuse)
    waiting = begin(narrow, handlers.add, a=1)
    first.interrupt(Interruption.CANCEL)  # which ends the only one
    with pytest.raises(NotBegun, match="no more processes"):
        await end_of(waiting)
    with pytest.raises(NotBegun, match="no more processes"):
        await end_of(begin(narrow, handlers.add, a=1))


async def test_who_waits_too_long_for_a_process_that_the_system_does_not_give_is_given_back(
    narrow: ProcessExecutor, channel: RecordingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begin(narrow, handlers.sleep, channel)
    await channel.said("begun")
    monkeypatch.setattr(process, "ChildProcess", refuse)
    monkeypatch.setattr(process, "START_LIMIT", 0.0)
    with pytest.raises(NotBegun, match="no more processes"):
        await end_of(begin(narrow, handlers.add, a=1))
    assert not first.finished.done()
    first.interrupt(Interruption.CANCEL)


@pytest.mark.slow
async def test_one_that_imports_the_application_still_comes_up(narrow: ProcessExecutor) -> None:
    executions = [begin(narrow, handlers.pid) for _ in range(4)]
    while not any(child.came_up for child in narrow._children):  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.001)
    assert narrow._coming_up() <= 1
    for execution in executions:
        await end_of(execution)


def refuse(*_: object) -> None:
    raise BlockingIOError("no more processes")


async def test_a_handler_that_refuses_sigterm_leaves_the_next_one_of_its_process_able_to_hear_it(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    pid = await end_of(begin(executor, handlers.refuse_sigterm))
    execution = begin(executor, handlers.sleep_deaf, channel)
    assert int(await channel.said("begun ")) == pid
    execution.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(execution)


@pytest.mark.slow
async def test_a_child_that_a_handler_left_processes_in_is_replaced(
    executor: ProcessExecutor, channel: RecordingChannel
) -> None:
    pid = await end_of(begin(executor, handlers.leave_process, channel, how="returns"))
    assert await end_of(begin(executor, handlers.pid)) != pid
    assert Watched(int(await channel.said("pids "))).has_ended()


@pytest.mark.parametrize(
    "how",
    [
        "signals ignored",
        pytest.param("system call", marks=pytest.mark.slow),
        pytest.param("interpreter's lock", marks=pytest.mark.slow),
    ],
)
async def test_no_child_outlives_a_killed_worker(how: str) -> None:
    code = """
import asyncio, sys
from fairlane.jobtypes.options import Isolation
from fairlane.engine.executors.process import ProcessExecutor
from tests.engine import handlers
from tests.engine.recording import Begun, RecordingChannel, call
async def main():
    executor, channel = ProcessExecutor(2), RecordingChannel()
    await executor.start()
    handler, parameters = handlers.block, {"how": sys.argv[1]}
    if sys.argv[1] == "signals ignored":
        handler, parameters = handlers.ignore_all, {}
    execution = Begun(executor, call(handler, parameters, isolation=Isolation.PROCESS, channel=channel))
    print(await channel.said("pids "), *executor.pids, flush=True)
    await execution.finished
asyncio.run(main())
"""
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code, how, stdout=pipe)
    assert worker.stdout is not None
    async with asyncio.timeout(PATIENCE):
        watched = [Watched(int(pid)) for pid in (await worker.stdout.readline()).split()]
    assert len(watched) >= 3
    worker.kill()
    await worker.wait()
    assert all(process.has_ended() for process in watched)


class FullChannel(RecordingChannel):
    """A channel that never takes more lines."""

    def send(self, report: Report) -> "Future[Any]":
        sent = super().send(report)
        return Future() if isinstance(report, LoggedLine) else sent


async def test_a_handler_that_logs_in_a_loop_waits_for_room_until_it_is_stopped(executor: ProcessExecutor) -> None:
    channel = FullChannel()
    begun = begin(executor, handlers.log_in_a_loop, channel)
    await channel.said("99")
    begun.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(begun)
    assert channel.lines == [str(number) for number in range(100)]


class SlowChannel(RecordingChannel):
    """A channel that takes no more lines before the earlier ones are written, in a moment each."""

    is_full = True

    def __init__(self) -> None:
        super().__init__()
        self.unwritten = self.most = 0

    def send(self, report: Report) -> "Future[Any]":
        super().send(report)
        self.unwritten += 1
        self.most = max(self.most, self.unwritten)
        future: Future[Any] = Future()
        asyncio.get_running_loop().call_later(0.005, self._written, future)
        return future

    def _written(self, future: "Future[Any]") -> None:
        self.unwritten -= 1
        future.set_result(None)


async def test_what_a_handler_does_not_await_is_not_read_before_there_is_room(executor: ProcessExecutor) -> None:
    channel = SlowChannel()
    await end_of(begin(executor, handlers.report_without_await, channel, times=50))
    assert channel.most == 1
    assert channel.lines == [str(number) for number in range(50)]
    assert channel.of(Checkpoint) == [Checkpoint(str(number)) for number in range(50)]


class SilentChannel(RecordingChannel):
    """A channel that takes no lines, and writes nothing: an outage."""

    is_full = True

    def send(self, report: Report) -> "Future[Any]":
        super().send(report)
        return Future()


async def test_how_a_handler_ends_that_was_asked_to_stop_is_heard_though_there_is_no_room(
    executor: ProcessExecutor,
) -> None:
    channel = SilentChannel()
    begun = begin(executor, handlers.sleep_deaf, channel)
    pid = int(await channel.said("begun "))
    begun.interrupt(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        await end_of(begun)
    assert channel.lines == [f"begun {pid}", "canceled: True"]


async def test_one_that_does_not_stop_is_killed_though_there_is_no_room(executor: ProcessExecutor) -> None:
    channel = SilentChannel()
    begun = begin(executor, handlers.report_without_await, channel, times=1_000_000)
    await channel.said("0")
    child = begun.execution._child
    begun.interrupt(Interruption.TIMEOUT)
    begun.abandon()
    with pytest.raises(Abandoned):
        await end_of(begun)
    async with asyncio.timeout(PATIENCE):
        await child.ended
    assert child.pid not in executor.pids
    assert len(channel.of(Checkpoint)) <= 2


class LateChannel(RecordingChannel):
    """A channel that has no turn for files before the test gives one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: asyncio.Future[Callable[[], Any]] = asyncio.get_running_loop().create_future()
        self.file: Future[Any] = Future()

    def in_file_thread(self, work: Callable[[], Any]) -> "Future[Any]":
        self.asked.set_result(work)
        return self.file


async def test_a_parents_file_that_comes_too_late_is_left_nowhere(executor: ProcessExecutor) -> None:
    channel = LateChannel()
    parent = ParentInput(uuid4(), "import", JobStatus.COMPLETED, None, {}, {"a.txt": ("acme/a.txt", 1)})
    begun = begin(executor, handlers.describe, channel, (parent,))
    async with asyncio.timeout(PATIENCE):
        read = await channel.asked
        child = begun.execution._child
        begun.interrupt(Interruption.CANCEL)
        begun.abandon()
        await child.ended
        with pytest.raises(Abandoned):
            await end_of(begun)
    assert channel.file.cancelled()
    with pytest.raises(PermanentError, match="nobody needs the file"):
        read()  # a thread was at it already
    assert not child._directory.exists()
