"""Lines of a worker in the log about its attempts."""

import asyncio
import gc
import logging

import pytest

from fairlane import Fairlane, JobContext, PermanentError, Snooze


@pytest.mark.slow
def test_attempts_are_in_the_log_from_the_moment_that_its_level_shows_them(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without other listeners, no event is made for a line that is not written."""
    log = logging.getLogger("fairlane")
    caplog.set_level(logging.DEBUG, "fairlane")
    log.setLevel(logging.WARNING)
    with Fairlane(sqlite_url) as fl:

        @fl.job_type("work")
        async def work(ctx: JobContext, level: int) -> None:
            log.setLevel(level)

        @fl.job_type("fail")
        async def fail(ctx: JobContext) -> None:
            raise PermanentError("no paper")

        @fl.job_type("wait")
        async def wait(ctx: JobContext) -> None:
            raise Snooze(60, "the tray is being filled")

        fl.organizations.create("acme")

        def run(name: str, **parameters: object) -> str:
            job = fl.submit(name, organization="acme", parameters=parameters)
            fl.worker().drain()
            return f"{name} {job.id} of acme: "

        run("work", level=logging.WARNING)
        failed, second, third = run("fail"), run("work", level=logging.DEBUG), run("work", level=logging.INFO)
        snoozed = run("wait")

    assert [line.partition(" after ")[0] for line in caplog.messages if "of acme: " in line] == [
        f"{failed}dead_letter (PermanentError)",
        f"{second}completed",
        f"{third}attempt 1 starts.",
        f"{third}completed",
        f"{snoozed}snoozed for 60 s",
    ]


def test_the_words_of_what_nobody_awaited_are_in_no_log(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """asyncio writes of a handler's task, and of a callback, what they raised: it may be of one organization."""
    with Fairlane(sqlite_url) as fl:

        @fl.job_type("leave")
        async def leave(ctx: JobContext) -> None:
            async def fail(word: str) -> None:
                raise ValueError(f"login failed for {word}")

            def fail_at_once(word: str) -> None:
                raise KeyError(f"no {word}")

            task = asyncio.create_task(fail("canary-4711"), name="canary-4711")
            asyncio.get_running_loop().call_soon(fail_at_once, "canary-4711")
            asyncio.get_running_loop().call_exception_handler({"exception": OSError("canary-4711")})  # as libraries do
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            del task
            gc.collect()

        fl.organizations.create("acme")
        fl.submit("leave", organization="acme")
        fl.worker().drain()
    told = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "ValueError" in told
    assert "KeyError" in told
    assert "OSError" in told
    assert "canary-4711" not in told
