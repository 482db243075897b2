"""What a worker says in the log of its attempts."""

import logging

import pytest

from fairlane import Fairlane, JobContext, PermanentError


def test_attempts_are_in_the_log_from_the_moment_that_its_level_shows_them(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody else hears of them, no event is made of which no line is written."""
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

        fl.organizations.create("acme")
        jobs = [
            fl.submit(name, organization="acme", parameters=parameters)
            for name, parameters in (
                ("work", {"level": logging.WARNING}),
                ("fail", {}),
                ("work", {"level": logging.DEBUG}),
                ("work", {"level": logging.INFO}),
            )
        ]
        drained = fl.worker(concurrency=1).drain()

    assert (drained.completed, drained.dead_letters) == (3, 1)
    told = [line for line in caplog.messages if "of acme" in line]
    first, failed, second, third = (job.id for job in jobs)
    assert not any(str(first) in line for line in told)
    assert [line.partition(" after ")[0] for line in told] == [
        f"fail {failed} of acme: dead_letter (PermanentError)",
        f"work {second} of acme: completed",
        f"work {third} of acme: attempt 1 starts.",
        f"work {third} of acme: completed",
    ]
