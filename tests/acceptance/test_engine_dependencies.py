"""R9, R8: children run after their parents, and learn what those left; dead letters tell."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fairlane import Job, JobContext, PermanentError, Submission
from fairlane.domain.events import DeadLetterAlert
from fairlane.store.statements import dependencies
from tests.acceptance.apps import handlers
from tests.engine.worker_kit import Engine, Gate, engine, running, started


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, dead_letter_alert=3) as fl:
        register(fl)
        yield fl


def register(fl: Engine) -> None:
    @fl.job_type("make", dedup_window=0)
    async def make(ctx: JobContext, what: str = "thing") -> str:
        await ctx.artifact(f"{what}.txt", f"the {what}".encode())
        return what

    @fl.job_type("break", dedup_window=0)
    async def broken(ctx: JobContext) -> None:
        raise PermanentError("broken for good")

    @fl.job_type("gather", dedup_window=0)
    def gather(ctx: JobContext) -> list[Any]:
        return sorted(
            [one.job_type, str(one.status), one.result, [one.artifact(name).decode() for name in one.artifacts]]
            for one in ctx.parents
        )


def test_a_child_sees_what_its_parents_left(fl: Engine) -> None:
    parents = [fl.give("make", parameters={"what": what}, labels={"of": what}) for what in ("chair", "table")]
    child = fl.give("gather", depends_on=parents)
    assert child.status == "pending"
    fl.drain()
    assert fl.value(child) == [
        ["make", "completed", "chair", ["the chair"]],
        ["make", "completed", "table", ["the table"]],
    ]


@pytest.mark.slow
def test_an_async_child_and_a_process_see_them_too(fl: Engine) -> None:
    fl.job_type("in a process", isolation="process")(handlers.read_parents)

    @fl.job_type("async")
    async def asynchronous(ctx: JobContext) -> list[Any]:
        return [[parent.result, list(parent.artifacts), dict(parent.labels)] for parent in ctx.parents]

    parent = fl.give("make", parameters={"what": "chair"}, labels={"of": "wood"})
    children = [fl.give(name, depends_on=[parent]) for name in ("in a process", "async")]
    fl.drain()
    assert fl.value(children[0]) == ["the chair"]
    assert fl.value(children[1]) == [["chair", ["chair.txt"], {"of": "wood"}]]


def test_no_child_starts_before_its_last_parent_has_ended(fl: Engine) -> None:
    gates = [Gate(), Gate()]

    @fl.job_type("wait")
    def wait(ctx: JobContext, number: int) -> None:
        gates[number].wait()

    parents = [fl.give("wait", parameters={"number": number}) for number in (0, 1)]
    child = fl.give("gather", depends_on=parents)
    with running(fl.worker()):
        for parent in parents:
            started(fl, parent)
        gates[0].open()
        fl.ended(parents[0])
        assert fl.look(child).status == "pending"
        gates[1].open()
        assert fl.ended(child).status == "completed"


@pytest.mark.slow
def test_a_graph_fans_out_and_in_again(fl: Engine) -> None:
    order: list[str] = []
    lock = threading.Lock()

    @fl.job_type("step", dedup_window=0)
    def step(ctx: JobContext, name: str) -> None:
        with lock:
            order.append(name)

    def submission(name: str, *parents: Submission) -> Submission:
        return Submission("step", organization="acme", parameters={"name": name}, depends_on=parents)

    first = submission("first")
    middle = [submission(f"middle {number}", first) for number in range(10)]
    last = submission("last", *middle)
    jobs = fl.submit_many([last, *middle, first])
    fl.drain()
    assert {str(fl.look(job).status) for job in jobs} == {"completed"}
    assert (order[0], order[-1], len(order)) == ("first", "last", 12)


def test_a_child_of_a_parent_that_failed_is_a_dead_letter_that_names_it(fl: Engine) -> None:
    parent = fl.give("break")
    child = fl.give("gather", depends_on=[parent])
    grandchild = fl.give("gather", depends_on=[child])
    fl.drain()
    assert fl.way(child) == ["pending", "dead_letter"]
    assert f"parent {parent.id} (break) ended as dead letter" in fl.reasons(child)
    assert f"parent {child.id} (gather) ended as dead letter" in fl.reasons(grandchild)


def test_a_child_may_be_canceled_with_its_parent(fl: Engine) -> None:
    child = fl.give("gather", depends_on=[fl.give("break")], on_parent_failure="cancel")
    fl.drain()
    assert fl.way(child) == ["pending", "canceled"]
    assert fl.look(child).canceled_by == "system"


def test_a_child_may_run_anyway(fl: Engine) -> None:
    parents = [fl.give("break"), fl.give("make")]
    child = fl.give("gather", depends_on=parents, on_parent_failure="run_anyway")
    fl.drain()
    assert fl.value(child) == [
        ["break", "dead_letter", None, []],
        ["make", "completed", "thing", ["the thing"]],
    ]


def test_a_child_of_a_job_that_has_ended_runs(fl: Engine) -> None:
    parent = fl.give("make")
    fl.drain()
    child = fl.give("gather", depends_on=[parent])
    fl.drain()
    assert fl.value(child) == [["make", "completed", "thing", ["the thing"]]]


def test_a_retried_parent_brings_its_children_back(fl: Engine) -> None:
    is_broken = True

    @fl.job_type("flaky")
    async def flaky(ctx: JobContext) -> None:
        if is_broken:
            raise PermanentError("not yet")

    parent = fl.give("flaky")
    child = fl.give("gather", depends_on=[parent])
    fl.drain()
    assert fl.look(child).status == "dead_letter"
    is_broken = False
    fl.retry(parent.id, organization="acme")
    fl.drain()
    assert fl.way(child) == ["pending", "dead_letter", "pending", "queued", "running", "completed"]


def fail(fl: Engine, *, children: int = 0) -> Job:
    parent = fl.give("break")
    for _ in range(children):
        fl.give("gather", depends_on=[parent])
    fl.drain()
    return parent


def test_the_alert_comes_once_when_the_threshold_is_passed(fl: Engine) -> None:
    for depth in range(1, 6):
        fail(fl)
        assert [alert.depth for alert in fl.events.of(DeadLetterAlert)] == ([3] if depth >= 3 else [])


def test_the_alert_counts_the_children_that_went_down_with_their_parent(fl: Engine) -> None:
    fail(fl, children=5)
    assert [(one.organization, one.depth) for one in fl.events.of(DeadLetterAlert)] == [("acme", 6)]


def test_the_alert_comes_for_the_children_of_a_parent_that_a_person_cancels(fl: Engine) -> None:
    parent = fl.give("break")
    for _ in range(5):
        fl.give("gather", depends_on=[parent])
    fl.cancel(parent.id, organization="acme")
    assert [(one.organization, one.depth) for one in fl.events.of(DeadLetterAlert)] == [("acme", 5)]


def test_the_alert_comes_for_the_children_that_are_told_of_their_parent_later(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_BATCH", 1)
    parent = fl.give("break")
    for _ in range(5):
        fl.give("gather", depends_on=[parent])
    fl.cancel(parent.id, organization="acme")
    assert fl.events.of(DeadLetterAlert) == []
    fl.drain()
    assert len(fl.events.of(DeadLetterAlert)) == 1


def test_the_alert_comes_for_children_that_are_submitted_after_their_parent_has_failed(fl: Engine) -> None:
    parent = fail(fl)
    for _ in range(3):
        fl.give("gather", depends_on=[parent])
    assert [one.depth for one in fl.events.of(DeadLetterAlert)] == [3]


@pytest.mark.slow
def test_the_alert_repeats_when_the_depth_had_sunk(fl: Engine) -> None:
    letters = [fail(fl) for _ in range(3)]
    fl.dead_letters.ignore(letters[0].id, organization="acme")
    fail(fl)
    assert len(fl.events.of(DeadLetterAlert)) == 2


def test_the_alert_counts_each_organization_for_itself(fl: Engine) -> None:
    fl.organizations.create("rival")
    for organization in ("acme", "rival", "acme", "rival"):
        fl.give("break", organization=organization)
    fl.drain()
    assert fl.events.of(DeadLetterAlert) == []
