"""R7, R13: what a handler returns is kept, or the job says why it can't be."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from fairlane import (
    ArtifactNotFound,
    IllegalTransition,
    Job,
    JobContext,
    Submission,
    WaitTimeout,
)
from fairlane.domain.breaker import Pair, opened
from fairlane.domain.events import JobEnded
from fairlane.store.statements import breakers
from tests.acceptance.apps import handlers
from tests.engine.worker_kit import Engine


@dataclass
class Line:
    amount: Decimal
    due: date


VALUES: dict[str, tuple[Any, Any]] = {
    "nothing": (None, None),
    "false": (False, False),
    "nested": ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    "text": ("Grüße 🎉", "Grüße 🎉"),
    "typed": (UUID(int=1), str(UUID(int=1))),
    "a dataclass": (Line(Decimal("1.20"), date(2026, 1, 31)), {"amount": "1.20", "due": "2026-01-31"}),
    "a set": ({3, 1, 2}, [1, 2, 3]),
}


def give_each(fl: Engine, values: dict[str, Any]) -> dict[str, Job]:
    """A job for each of the values, which its handler returns."""

    @fl.job_type("return it")
    async def return_it(ctx: JobContext, name: str) -> Any:
        return values[name]

    jobs = {name: fl.give("return it", parameters={"name": name}) for name in values}
    fl.drain()
    return jobs


def test_results_come_back_as_json(fl: Engine) -> None:
    jobs = give_each(fl, {name: given for name, (given, _) in VALUES.items()})
    assert {name: fl.value(job) for name, job in jobs.items()} == {name: value for name, (_, value) in VALUES.items()}


class Trap:
    """A result whose attributes raise."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("hands off")


UNSTORABLE: dict[str, Any] = {
    "an object": object(),
    "NaN": float("nan"),
    "infinity in a list": [1.0, float("inf")],
    "NUL in a string": {"text": "a\0b"},
    "a lone surrogate": "\ud800",
    "too large": "x" * 2_000_000,
    "keys that are no text": {1: "one"},
    "an object that raises": Trap(),
    "a coroutine function": lambda: None,
}


def test_a_result_that_can_not_be_stored_fails_its_job_for_good(fl: Engine) -> None:
    jobs = give_each(fl, UNSTORABLE | {"fine": "fine"})
    assert fl.value(jobs.pop("fine")) == "fine"
    for name, job in jobs.items():
        assert fl.way(job) == ["queued", "running", "failed", "dead_letter"], (name, fl.reasons(job))
        assert fl.value(job) is None


@pytest.mark.slow
def test_a_process_says_too_what_it_can_not_return(fl: Engine) -> None:
    fl.job_type("work", isolation="process")(handlers.return_nan)
    job = fl.give("work")
    fl.drain()
    assert fl.look(job).status == "dead_letter"
    assert "can't be stored" in str(fl.look(job).error_message)


def test_one_bad_result_among_500_good_ones_fails_alone(fl: Engine) -> None:
    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext, number: int) -> str:
        return "bad \0" if number == 250 else "good"

    jobs = fl.submit_many(
        [Submission("work", organization="acme", parameters={"number": number}) for number in range(500)]
    )
    fl.drain(concurrency=500)
    assert fl.list(organization="acme", status="completed").total == 499
    assert fl.look(jobs[250]).status == "dead_letter"
    assert len(fl.events.of(JobEnded)) == 500


def test_a_file_that_is_not_there_is_named_with_those_that_are(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None:
        await ctx.artifact("report.txt", "all")

    job = fl.give("work")
    with pytest.raises(ArtifactNotFound, match=r"no artifact 'report\.txt'; it has none\.$"):
        fl.artifact(job.id, "report.txt", organization="acme")
    fl.drain()
    with pytest.raises(ArtifactNotFound, match=r"no artifact 'Report\.txt'; it has report\.txt\.$"):
        fl.artifact(job.id, "Report.txt", organization="acme")
    (left,) = fl.result(job.id, organization="acme").artifacts
    fl.artifacts.delete(left.path)
    with pytest.raises(ArtifactNotFound, match="give it the artifacts_url that the worker has"):
        fl.artifact(job.id, "report.txt", organization="acme")


def test_a_wait_that_was_too_short_says_so(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None: ...

    with pytest.raises(
        WaitTimeout,
        match=r"is still queued after 0 s\. No worker is alive\. The team that runs Fairlane has to start one: ",
    ):
        fl.wait(fl.give("work").id, organization="acme", timeout=0)


def test_a_wait_for_what_is_paused_says_so(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None: ...

    job = fl.give("work")
    fl.job_types.pause("work")
    with pytest.raises(WaitTimeout, match=r"after 0 s\. .*paused"):
        fl.wait(job.id, organization="acme", timeout=0)


def test_a_wait_for_what_a_breaker_holds_back_says_so(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None: ...

    breaker = opened(Pair("acme", "work"), datetime.now(UTC))
    fl.database.write(lambda connection: breakers.open_one(connection, breaker))

    sentence = r"after 0 s\. Too much of work failed in .* start now: `fairlane types close-breaker work -o acme`\."
    with pytest.raises(WaitTimeout, match=sentence):
        fl.wait(fl.give("work").id, organization="acme", timeout=0)


def test_a_job_that_has_not_ended_has_no_result_but_may_have_files(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> None:
        ctx.artifact("report.txt", "so far")
        with pytest.raises(IllegalTransition, match=f"Job {ctx.job_id} is running and has no result yet"):
            fl.result(ctx.job_id, organization="acme")
        assert fl.artifact(ctx.job_id, "report.txt", organization="acme") == b"so far"

    job = fl.give("work")
    with pytest.raises(IllegalTransition, match="is queued and has no result yet; wait for its end"):
        fl.value(job)
    fl.drain()
    assert fl.value(job) is None
