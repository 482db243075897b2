"""Few statements change many jobs on SQLite: each statement costs more than the row that it changes."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as SomeEngine
from sqlalchemy import event

from fairlane import Job, JobContext, PermanentError, Submission
from tests.engine.worker_kit import Engine, engine

JOBS = 200
REVIVED = 100  # jobs that one transaction revives
FEW = JOBS // 2  # on a busy machine fewer end together; one by one it would be more than two for each
STATE = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM) fairlane_(live|ended)\b")


@pytest.fixture
def fl(sqlite_url: str) -> Iterator[Engine]:
    with engine(sqlite_url) as fl:

        @fl.job_type("fail", dedup_window=0, backoff=[0], max_retries=1)
        async def fail(ctx: JobContext, *, for_good: bool) -> None:
            raise PermanentError if for_good else ConnectionError

        yield fl


def give(fl: Engine, number: int = JOBS, **options: Any) -> list[Job]:
    mine = {"organization": "acme", "parameters": {"for_good": False}, **options}
    return fl.submit_many([Submission("fail", **mine) for _ in range(number)])


def writes(call: Callable[[], object]) -> int:
    """Return how many statements of the call change a job's state."""
    sent = list[str]()

    def send(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if STATE.match(statement.strip()):
            sent.append(statement)

    event.listen(SomeEngine, "before_cursor_execute", send)
    try:
        call()
    finally:
        event.remove(SomeEngine, "before_cursor_execute", send)
    return len(sent)


@pytest.mark.slow
def test_children_are_taken_down_and_revived_by_the_batch(fl: Engine) -> None:
    parent = fl.submit("fail", organization="acme", parameters={"for_good": True})
    children = give(fl, REVIVED, depends_on=[parent.id])
    assert writes(fl.drain) < FEW
    assert {fl.look(job).status for job in children} == {"dead_letter"}
    assert writes(lambda: fl.retry(parent.id, organization="acme")) < FEW
    assert {fl.look(job).status for job in children} == {"pending"}


@pytest.mark.slow
def test_attempts_that_fail_together_are_put_back_by_the_batch(fl: Engine) -> None:
    jobs = give(fl)
    assert writes(fl.drain) < FEW
    assert {(now.status, now.attempt, now.retry_count) for now in map(fl.look, jobs)} == {("dead_letter", 2, 1)}


@pytest.mark.slow
def test_edges_labels_and_entries_of_the_log_go_as_one_text(fl: Engine) -> None:
    """Of rows that are handed over one by one, each waits for the interpreter's lock while nobody else may write."""
    one_by_one = list[str]()

    def send(_connection: Any, _cursor: Any, statement: str, rows: Any, _context: Any, is_many: bool) -> None:
        # Two or three, as many as happened to fail at once, cost no more than a text.
        if is_many and len(rows) > 3:
            one_by_one.append(statement)

    event.listen(SomeEngine, "before_cursor_execute", send)
    try:
        parents = give(fl)
        (child, *_) = give(fl, depends_on=[job.id for job in parents], labels={"colour": "blue"})
        fl.drain()
    finally:
        event.remove(SomeEngine, "before_cursor_execute", send)
    tables = re.compile(r"INSERT INTO fairlane_(job_parents|labels|execution_log)\b")
    assert not [one for one in one_by_one if tables.match(one)]
    now = fl.look(child)
    assert (now.status, dict(now.labels), len(now.depends_on)) == ("dead_letter", {"colour": "blue"}, JOBS)
    assert [entry.to_status for entry in fl.history(child.id, organization="acme")] == ["pending", "dead_letter"]
