"""Long chains of jobs: each transaction goes a few generations further, so that nobody waits for the whole chain."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, event

from fairlane import Job, JobContext, JobStatus, Submission
from tests.engine.worker_kit import Engine, engine, running, until_none

pytestmark = pytest.mark.slow

_LENGTH = 100
_MOST = 150  # statements of one transaction, whatever the length


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:

        @fl.job_type("step", dedup_window=0)
        def step(ctx: JobContext) -> None: ...

        yield fl


@contextmanager
def counted(fl: Engine) -> Iterator[list[int]]:
    """Count the statements of each transaction that ends in this block."""
    ended: list[int] = []
    running: dict[Connection, int] = {}

    def add(connection: Connection, *_: object) -> None:
        running[connection] = running.get(connection, 0) + 1

    def end(connection: Connection) -> None:
        ended.append(running.pop(connection, 0))

    event.listen(fl.database.engine, "before_cursor_execute", add)
    event.listen(fl.database.engine, "commit", end)
    try:
        yield ended
    finally:
        event.remove(fl.database.engine, "before_cursor_execute", add)
        event.remove(fl.database.engine, "commit", end)


def chain(fl: Engine, policy: str = "dead_letter") -> list[Job]:
    """Submit jobs, each of which waits for the one before; the head waits for an hour."""
    links: list[Submission] = [Submission("step", organization="acme", delay=3600)]
    for _ in range(_LENGTH):
        links.append(Submission("step", organization="acme", depends_on=[links[-1]], on_parent_failure=policy))
    return fl.submit_many(links)


def pending(fl: Engine) -> int:
    return fl.list(organization="acme", status="pending", limit=1).total


@pytest.mark.parametrize(("policy", "end"), [("dead_letter", "dead_letter"), ("cancel", "canceled")])
def test_who_cancels_the_head_of_a_chain_does_not_wait_for_its_end(fl: Engine, policy: str, end: str) -> None:
    head, first, *_, last = chain(fl, policy)
    with counted(fl) as transactions:
        canceled = fl.cancel(head, organization="acme")
    assert (canceled.status, fl.look(first).status) == (JobStatus.CANCELED, JobStatus(end))
    assert max(transactions) < _MOST
    assert 0 < pending(fl) < _LENGTH
    with counted(fl) as transactions, running(fl.worker()):
        until_none(lambda: pending(fl))
    assert max(transactions) < _MOST
    assert fl.look(last).status == end
    assert fl.list(organization="acme", status=end, limit=1).total >= _LENGTH
    assert "ended as" in fl.reasons(last)


def test_a_child_that_waits_for_its_chain_to_be_gone_through_says_so(fl: Engine) -> None:
    head, *rest = chain(fl)
    fl.cancel(head, organization="acme")
    waiting = [job for job in rest if fl.look(job).status == "pending"]
    assert fl.explain(waiting[1].id, organization="acme").summary.startswith(
        f"It waits for its parent step {waiting[0].id} (pending)."
    )


def test_a_chain_whose_head_was_retried_meanwhile_waits_for_it_again(fl: Engine) -> None:
    head, first, *_, last = chain(fl)
    fl.cancel(head, organization="acme")
    fl.retry(first, organization="acme")
    fl.drain()
    assert {str(one.status) for one in fl.list(organization="acme", limit=1000).items} == {"canceled", "completed"}
    assert fl.look(last).status == "completed"


def test_who_retries_the_head_of_a_chain_revives_it_in_a_few_statements(fl: Engine) -> None:
    head, first, *_, last = chain(fl)
    fl.cancel(head, organization="acme")
    fl.drain()
    with counted(fl) as transactions:
        fl.retry(first, organization="acme")
    # SQLite is quick at one statement after another, and writes each row by its own.
    assert max(transactions) < (50 if fl.database.kind.is_server else 50 + _LENGTH)
    assert fl.look(last).status == "pending"
    fl.drain()
    assert fl.look(last).status == "completed"
