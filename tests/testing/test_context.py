"""The context with which applications test their handlers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairlane import Fairlane, Interrupted, JobContext, JobStatus, PermanentError, Snooze, TransientError
from fairlane.engine.worker import Drained
from fairlane.testing import RecordingContext


@pytest.fixture
def fl() -> Iterator[Fairlane]:
    with Fairlane("sqlite://") as made:
        made.migrate()
        made.organizations.create("acme")
        yield made


def test_a_context_keeps_what_a_handler_reports(fl: Fairlane, tmp_path: Path) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext, pages: int) -> str:
        (tmp_path / "b.txt").write_text("b")
        ctx.log(f"{ctx.organization} {ctx.user} {ctx.labels['doc']} from {ctx.checkpointed}")
        for page in ctx.track(range(pages), message="scanning"):
            ctx.sleep(3600)
            ctx.checkpoint({"page": page})
        ctx.artifact("a.txt", "a")
        ctx.artifact("b.txt", tmp_path / "b.txt")
        return ctx.parents[0].artifact("in.txt").decode()

    ctx = RecordingContext(
        organization="tern",
        user="ana",
        labels={"doc": "7"},
        checkpointed=3,
        parents=[RecordingContext.finished_parent({"rows": 1}, files={"in.txt": b"left"})],
    )

    assert work(ctx, 2) == "left"
    assert ctx.parents[0].result == {"rows": 1}
    assert ctx.lines == ["tern ana 7 from 3"]
    assert ctx.reported[-1] == (100.0, "scanning")
    assert ctx.checkpoints == [{"page": 0}, {"page": 1}]
    assert ctx.files == {"a.txt": b"a", "b.txt": b"b"}
    with pytest.raises(PermanentError, match=r"left no artifact 'out\.txt'; it left in\.txt"):
        ctx.parents[0].artifact("out.txt")


async def lines() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


def test_an_async_handler_may_await_what_it_reports(fl: Fairlane) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None:
        await ctx.progress(50)
        await ctx.checkpoint(1)
        await ctx.artifact("a.txt", b"a")
        await ctx.artifact("b.txt", lines())
        await ctx.sleep(3600)
        await ctx.log("done")

    ctx = RecordingContext()
    asyncio.run(work(ctx))
    assert (ctx.reported, ctx.checkpoints, ctx.lines) == ([(50.0, None)], [1], ["done"])
    assert ctx.files == {"a.txt": b"a", "b.txt": b"onetwo"}


def test_a_handler_is_stopped_as_by_a_cancel(fl: Fairlane) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext) -> None:
        try:
            ctx.progress(50)
        finally:
            ctx.log("cleaned up")

    ctx = RecordingContext()
    ctx.cancel()
    assert ctx.is_canceled()
    with pytest.raises(Interrupted):
        work(ctx)
    assert (ctx.reported, ctx.lines) == ([], ["cleaned up"])


def test_drain_says_how_attempts_ended(fl: Fairlane) -> None:
    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext, how: str) -> None:
        match how:
            case "retry":
                raise TransientError("busy")
            case "dead-letter":
                raise PermanentError("never")
            case "snooze":
                raise Snooze(60)
            case "cancel":
                fl.cancel(ctx.job_id, organization="acme")
                await ctx.sleep(60)

    for how in ("end", "end", "end", "retry", "retry", "dead-letter", "snooze", "cancel"):
        fl.submit("work", organization="acme", parameters={"how": how})

    assert fl.worker().drain() == Drained(completed=3, retried=2, dead_letters=1, canceled=1, snoozed=1)
    assert fl.worker().drain() == Drained(completed=0, retried=0, dead_letters=0, canceled=0, snoozed=0)
    assert fl.list(organization="acme", status=JobStatus.COMPLETED).total == 3
