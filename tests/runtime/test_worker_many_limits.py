"""Thousands of organizations with limits of their own: a claim takes no more of them than it has slots (R4)."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select

from fairlane.store.statements import running_limits
from fairlane.store.tables import jobs, limits
from fairlane.store.tables import organizations as organizations_table
from tests.runtime.worker_kit import Engine, engine
from tests.runtime.worker_store import job_type, member, organizations

MANY = 10_000


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        job_type(fl, "pdf")
        yield fl


def crowd(fl: Engine, number: int, *, each: int = 2) -> None:
    """So many organizations, each with some jobs, of which one may run at once and three may start in a minute."""
    job = fl.give("pdf")

    def work(connection: Connection) -> None:
        row = dict(connection.execute(select(jobs)).one()._mapping)
        names = [f"o{n:05}" for n in range(number)]
        about: dict[str, Any] = {"name": "", "status": "active", "weight": 1, "max_running": 1}
        connection.execute(
            organizations_table.insert(), [{"id": name, **about, "created_at": row["created_at"]} for name in names]
        )
        document = '{"execution_rate": 3}'
        connection.execute(
            limits.insert(), [{"organization_id": name, "job_type": "pdf", "document": document} for name in names]
        )
        connection.execute(
            jobs.insert(), [{**row, "organization_id": name, "id": uuid4()} for name in names for _ in range(each)]
        )

    fl.database.write(work)
    fl.cancel(job.id, organization=job.organization)


@pytest.mark.slow
def test_ten_thousand_limited_organizations_come_by_turns(fl: Engine) -> None:
    crowd(fl, MANY)
    worker = member(fl, slots=1000, lease=600.0)  # a claim of so many took a busy machine 15 s
    worker.claims.outlooks.kept = 3600.0
    first = worker.claim(20)
    second = worker.claim(20)
    started = organizations([*first, *second])
    assert len(started) == 40
    assert set(started.values()) == {1}
    worker.end(*first)
    assert len(organizations([*second, *worker.claim(20)])) == 40


def test_no_more_organizations_are_locked_than_there_are_slots(fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd(fl, 30)
    worker, locked, lock = member(fl, slots=100), [], running_limits.lock

    def remember(connection: Connection, subjects: Any) -> Any:
        locked.append({one.organization for one in subjects})
        return lock(connection, subjects)

    monkeypatch.setattr(running_limits, "lock", remember)
    ran = worker.claim(3)
    assert organizations(ran).keys() == locked[0]
    assert len(locked[0]) == 3


def test_those_at_their_limits_are_in_nobody_s_way(fl: Engine) -> None:
    crowd(fl, 30)
    worker, ran = member(fl, slots=100), Counter[str]()
    for _ in range(10):
        claimed = organizations(worker.claim(3))
        assert claimed.total() == 3
        ran += claimed
    assert set(ran.values()) == {1}


def test_a_rate_that_is_used_up_is_in_nobody_s_way(fl: Engine) -> None:
    crowd(fl, 4, each=9)
    worker, started = member(fl, slots=100), Counter[str]()
    while ready := worker.claim(1):
        worker.end(*ready)
        started += organizations(ready)
    assert started == {f"o{n:05}": 3 for n in range(4)}
