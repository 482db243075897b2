"""The context that a handler gets: its job, its reports, its stop."""

import asyncio
import gc
import io
import math
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fairlane.domain.errors import PermanentError, Snooze, StorageUnavailable
from fairlane.domain.statuses import JobStatus
from fairlane.engine import context
from fairlane.engine.context import Interrupt, Interrupted, JobContext
from fairlane.engine.reports import Checkpoint, File, Interruption, LoggedLine, ParentInput, Progress
from tests.engine.recording import RecordingChannel, inputs


@pytest.fixture
def channel() -> RecordingChannel:
    return RecordingChannel()


def make(channel: RecordingChannel, *, blocking: bool = True, **changes: Any) -> JobContext:
    return JobContext(inputs(**changes), channel, Interrupt(), blocking=blocking)


@pytest.fixture
def ctx(channel: RecordingChannel) -> JobContext:
    return make(channel)


def test_it_tells_what_the_attempt_is(channel: RecordingChannel) -> None:
    ctx = make(channel, parameters={"page": 1}, checkpoint='{"page": 3}')
    assert (ctx.organization, ctx.user, ctx.job_type, ctx.attempt) == ("acme", "ana", "test", 2)
    assert ctx.parameters == {"page": 1}
    assert ctx.checkpointed == {"page": 3}
    assert ctx.labels == {"doc": "42"}


def test_a_first_attempt_has_no_checkpoint(ctx: JobContext) -> None:
    assert ctx.checkpointed is None
    assert ctx.parents == ()


def test_parents_give_their_artifacts(channel: RecordingChannel, tmp_path: Path) -> None:
    parent = ParentInput(uuid4(), "csv.import", JobStatus.COMPLETED, {"rows": 3}, {}, {"a.csv": ("acme/a.csv", 1)})
    (seen,) = make(channel, parents=(parent,)).parents
    assert (seen.id, seen.status, seen.result, seen.artifacts) == (parent.id, parent.status, {"rows": 3}, ("a.csv",))
    assert seen.artifact("a.csv") == f"{parent.id} a.csv".encode()
    assert list(seen.stream_artifact("a.csv")) == [f"{parent.id} ".encode(), b"a.csv"]
    assert seen.save_artifact("a.csv", tmp_path / "a").read_bytes() == seen.artifact("a.csv")
    with pytest.raises(PermanentError, match=r"left no artifact 'b\.csv'; it left a\.csv"):
        seen.artifact("b.csv")


@pytest.mark.parametrize(("given", "kept"), [(45, 45.0), (-1, 0.0), (250, 100.0), (math.inf, 100.0), (None, None)])
def test_progress_is_a_percentage(
    ctx: JobContext, channel: RecordingChannel, given: float | None, kept: float | None
) -> None:
    ctx.progress(given, "page 5")
    assert channel.reports == [Progress(kept, "page 5")]


@pytest.mark.parametrize("given", [math.nan, "x", [5]])
def test_progress_that_is_no_number_is_refused(ctx: JobContext, given: Any) -> None:
    with pytest.raises(ValueError, match=r"^percent must be a number, or None if it is unknown, not ") as refused:
        ctx.progress(given)
    assert repr(given) in str(refused.value)


def test_a_progress_message_may_be_anything_like_a_log_line(ctx: JobContext, channel: RecordingChannel) -> None:
    message: Any = 5
    ctx.progress(1, message)
    ctx.log(message)
    assert channel.reports == [Progress(1.0, "5"), LoggedLine("info", "5")]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("given", ["x", None, math.nan])
def test_a_sleep_that_is_no_number_is_refused(channel: RecordingChannel, blocking: bool, given: Any) -> None:
    with pytest.raises(ValueError, match=r"^seconds must be a number, not "):
        make(channel, blocking=blocking).sleep(given)


@pytest.mark.parametrize("given", ["x", None, -1, math.nan, math.inf])
def test_a_snooze_that_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^A job snoozes for 0 seconds or more, not for "):
        Snooze(given)


@pytest.mark.parametrize("reason", ["", None])
def test_a_snooze_without_a_reason_says_when_it_runs_again(reason: Any) -> None:
    assert str(Snooze(5, reason)) == "again in 5 s"


def test_only_what_can_be_iterated_is_tracked(ctx: JobContext) -> None:
    nothing: Any = 5
    with pytest.raises(TypeError, match=r"^ctx\.track takes a list or another iterable, not 5\.$"):
        ctx.track(nothing)
    with pytest.raises(ValueError, match=r"^total must be a number, or None if it is unknown, not 'x'\.$"):
        ctx.track([1], total="x")  # type: ignore[arg-type]


def test_an_artifact_s_text_that_is_no_utf_8_is_refused(ctx: JobContext) -> None:
    with pytest.raises(PermanentError, match=r"^an artifact's text holds half a surrogate pair"):
        ctx.artifact("a.txt", "a\ud800b")


async def test_progress_may_be_awaited_or_not(channel: RecordingChannel) -> None:
    ctx = make(channel, blocking=False)
    ctx.progress(1)
    await ctx.progress(2)
    assert channel.reports == [Progress(1.0, None), Progress(2.0, None)]


def test_log_has_levels(ctx: JobContext, channel: RecordingChannel) -> None:
    ctx.log("one")
    ctx.log("two", level="error")
    ctx.log.warning(3)
    assert channel.reports == [LoggedLine("info", "one"), LoggedLine("error", "two"), LoggedLine("warning", "3")]
    with pytest.raises(ValueError, match=r"no log level 'loud'.* f-string"):
        ctx.log("four", "loud")  # type: ignore[arg-type]


def test_text_that_no_database_can_hold_is_made_to_fit(ctx: JobContext, channel: RecordingChannel) -> None:
    ctx.log("a\0b\ud800" + "x" * 20_000)
    (line,) = channel.of(LoggedLine)
    assert line.message.startswith("a\N{REPLACEMENT CHARACTER}b?x")
    assert len(line.message) == 10_000


def test_track_reports_the_first_and_the_last(
    ctx: JobContext, channel: RecordingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "PACE", math.inf)
    assert list(ctx.track("abcd")) == list("abcd")
    assert channel.reports == [Progress(0.0, "0 of 4"), Progress(100.0, "4 of 4")]


def test_track_counts_what_has_no_length(
    ctx: JobContext, channel: RecordingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "PACE", 0.0)
    assert list(ctx.track(iter("ab"))) == ["a", "b"]
    assert list(ctx.track(iter("ab"), total=4, message="sorting")) == ["a", "b"]
    assert channel.reports == [
        Progress(None, "0"),
        Progress(None, "1"),
        Progress(None, "2"),
        Progress(0.0, "sorting"),
        Progress(25.0, "sorting"),
        Progress(100.0, "sorting"),
    ]


async def test_track_follows_async_iterables(channel: RecordingChannel) -> None:
    async def letters() -> AsyncIterator[str]:
        for letter in "ab":
            await asyncio.sleep(0)
            yield letter

    ctx = make(channel, blocking=False)
    assert [letter async for letter in ctx.track(letters(), total=2)] == ["a", "b"]
    assert channel.reports[-1] == Progress(100.0, "2 of 2")
    with pytest.raises(TypeError, match="async for"):
        list(ctx.track(letters()))
    with pytest.raises(TypeError, match="plain `for`"):
        [letter async for letter in ctx.track("ab")]


def test_track_stops_between_two_items(ctx: JobContext) -> None:
    items = iter(ctx.track(range(10)))
    assert next(items) == 0
    ctx.interrupt.set(Interruption.CANCEL)
    with pytest.raises(Interrupted):
        next(items)


def test_a_checkpoint_is_json(ctx: JobContext, channel: RecordingChannel) -> None:
    ctx.checkpoint({"page": 3, "of": (1, 2)})
    assert channel.reports == [Checkpoint('{"page":3,"of":[1,2]}')]


@pytest.mark.parametrize("state", [object(), math.nan, {1: 2}, "x" * (1024 * 1024)])
def test_a_checkpoint_that_cannot_be_stored_is_refused(ctx: JobContext, state: object) -> None:
    with pytest.raises(PermanentError, match="the checkpoint"):
        ctx.checkpoint(state)


def test_a_checkpoint_that_was_not_kept_is_an_error() -> None:
    ctx = make(RecordingChannel(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        ctx.checkpoint(1)


async def test_what_was_not_awaited_is_settled_at_the_end() -> None:
    ctx = make(RecordingChannel(OSError("disk full")), blocking=False)
    ctx.artifact("a.txt", b"")
    with pytest.raises(OSError, match="disk full"):
        await ctx.settled()


async def test_an_error_that_the_handler_has_seen_is_not_raised_again() -> None:
    ctx = make(RecordingChannel(OSError("disk full")), blocking=False)
    with pytest.raises(OSError, match="disk full"):
        await ctx.checkpoint(1)
    await ctx.settled()


def test_artifacts_are_bytes_text_or_files(ctx: JobContext, channel: RecordingChannel, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"from a path")
    ctx.artifact("a", b"bytes")
    ctx.artifact("b", "text ä", "text/plain")
    ctx.artifact("c", path)
    ctx.artifact("d", io.BytesIO(b"from a file"))
    ctx.artifact("e", iter([b"from", b" an ", b"iterator"]))
    assert channel.reports == [
        File("a", b"bytes"),
        File("b", "text ä".encode(), "text/plain"),
        File("c", b"from a path"),
        File("d", b"from a file"),
        File("e", b"from an iterator"),
    ]
    with pytest.raises(FileNotFoundError, match="to make an artifact of"):
        ctx.artifact("e", tmp_path / "missing")
    with pytest.raises(TypeError, match=r"not of dict; give json\.dumps"):
        ctx.artifact("e", {"x": 1})  # type: ignore[arg-type]  # what an application without a type checker does
    for text in (io.StringIO("text"), io.StringIO(), iter(["text"])):
        with pytest.raises(TypeError, match=r"bytes, not str; open a file with mode 'rb'"):
            ctx.artifact("e", text)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="in an async def handler; give an iterator of bytes here"):
        ctx.artifact("e", pieces(b"a"))


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


def test_an_iterator_is_left_where_the_handler_is_asked_to_stop(ctx: JobContext, channel: RecordingChannel) -> None:
    def endless() -> Iterator[bytes]:
        ctx.interrupt.set(Interruption.CANCEL)
        while True:
            yield b"a"

    with pytest.raises(Interrupted):
        ctx.artifact("a", endless())
    assert channel.reports == []


async def test_an_async_iterator_is_read_once_awaited_or_not(channel: RecordingChannel) -> None:
    ctx = make(channel, blocking=False)
    receipt = ctx.artifact("a", pieces(b"a", b"b"))
    await receipt
    with pytest.raises(RuntimeError, match=r"await ctx\.artifact"):
        await receipt
    ctx.artifact("b", pieces(b"c"))
    await ctx.settled()
    assert channel.reports == [File("a", b"ab"), File("b", b"c")]
    with pytest.raises(TypeError, match="bytes, not int"):
        await ctx.artifact("c", pieces(1))  # type: ignore[arg-type]
    await ctx.settled()


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "..", "a..b", ".", "a\nb", "a\0", "a\u202eb", "x" * 201])
def test_an_artifact_name_that_is_no_name_is_refused(ctx: JobContext, name: str) -> None:
    with pytest.raises(PermanentError, match="an artifact's name"):
        ctx.artifact(name, b"")


@pytest.mark.parametrize("kind", ["", "pdf", "/", "text/", "text/plain\r\nX: y", "text/plän", "text/" + "x" * 196])
def test_a_content_type_that_could_be_no_header_is_refused(ctx: JobContext, kind: str) -> None:
    with pytest.raises(PermanentError, match="a content type is a media type"):
        ctx.artifact("a", b"", kind)


def test_each_call_of_a_blocking_handler_stops_it(ctx: JobContext) -> None:
    ctx.interrupt.set(Interruption.TIMEOUT)
    assert ctx.is_canceled()
    with pytest.raises(Interrupted, match="timeout"):
        ctx.log("one")
    with pytest.raises(Interrupted):
        ctx.progress(1)
    with pytest.raises(Interrupted):
        ctx.sleep(1)
    with pytest.raises(Interrupted):
        ctx.raise_if_interrupted()


def test_what_the_call_that_stops_it_brings_is_kept(channel: RecordingChannel) -> None:
    for give in (lambda ctx: ctx.log("one"), lambda ctx: ctx.checkpoint(200)):
        ctx = make(channel)
        ctx.interrupt.set(Interruption.SHUTDOWN)
        with pytest.raises(Interrupted):
            give(ctx)
    assert channel.reports == [LoggedLine("info", "one"), Checkpoint("200")]


def test_clean_up_may_log_and_keep(ctx: JobContext, channel: RecordingChannel) -> None:
    ctx.interrupt.set(Interruption.SHUTDOWN)
    with pytest.raises(Interrupted):
        ctx.progress(1)
    ctx.log("cleaning up")
    ctx.checkpoint("so far")
    assert channel.reports == [LoggedLine("info", "cleaning up"), Checkpoint('"so far"')]


def test_except_exception_does_not_swallow_it() -> None:
    assert not issubclass(Interrupted, Exception)


def test_a_sleeping_blocking_handler_wakes_at_once(ctx: JobContext) -> None:
    threading.Timer(0.01, ctx.interrupt.set, [Interruption.CANCEL]).start()
    with pytest.raises(Interrupted):
        ctx.sleep(60)


def test_the_first_reason_stands() -> None:
    interrupt = Interrupt()
    assert interrupt.set(Interruption.TIMEOUT)
    assert not interrupt.set(Interruption.CANCEL)
    assert interrupt.reason is Interruption.TIMEOUT


async def test_an_async_handler_is_not_interrupted_by_its_calls(channel: RecordingChannel) -> None:
    ctx = make(channel, blocking=False)
    ctx.interrupt.set(Interruption.CANCEL)
    await ctx.progress(1)
    await ctx.sleep(0)
    assert ctx.is_canceled()


async def test_a_handler_that_was_cancelled_while_it_waited_leaves_no_error_that_nobody_looked_at(
    channel: RecordingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio would write a traceback into the worker's log, of an attempt that is over."""
    told, sent = list[dict[str, Any]](), [Future[Any]()]
    monkeypatch.setattr(channel, "send", lambda _: sent[0])
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: told.append(problem))
    ctx = make(channel, blocking=False)

    async def handler() -> None:
        await ctx.artifact("a.txt", b"data")

    running = asyncio.create_task(handler())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    sent.pop().set_exception(StorageUnavailable("The database did not answer."))
    del running
    await asyncio.sleep(0)  # until the loop has heard of it
    await asyncio.sleep(0)
    gc.collect()
    assert told == []
