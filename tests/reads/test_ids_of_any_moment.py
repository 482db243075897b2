"""R13: lists go by when a job was submitted, whatever moment its id has in it."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from fairlane import DuplicateJob, Fairlane, JobStatus, Submission
from tests.patience import PATIENCE
from tests.store.races.scene import START, Scene

# In the order in which they are submitted, a minute after each other: how far the moment of the id is from that minute.
AWAY = {
    "of now": timedelta(0),
    "drawn days before, by an outbox": timedelta(days=-9),
    "by a clock that is two hours ahead": timedelta(hours=2),
    "by a clock that lost its date": timedelta(seconds=-START.timestamp() - 240),
    "by a clock that is centuries ahead": timedelta(days=200_000),
    "of now again": timedelta(0),
}
MINUTES = len(AWAY)
LABEL = {"import": "7"}


def id_of(seconds: float) -> UUID:
    """A UUIDv7 of so many seconds after 1970."""
    return UUID(int=int(seconds * 1000) << 80 | 0x7 << 76 | 0x2 << 62 | uuid4().int & (1 << 62) - 1)


@pytest.fixture
def submitted(scene: Scene) -> list[UUID]:
    """The ids of the jobs, the oldest first."""
    return [submit(scene, away) for away in AWAY.values()]


def submit(scene: Scene, away: timedelta) -> UUID:
    scene.clock.advance(60)
    drawn = id_of(max(scene.now.timestamp() + away.total_seconds(), 0))
    (job,) = scene.fl.submit_many(
        [Submission("report", organization="acme", user="ana", queue="slow", labels=LABEL, id=drawn)]
    )
    assert job.id == drawn
    return drawn


def pages(fl: Fairlane, *, oldest_first: bool = False) -> list[UUID]:
    """Return the whole list, read in pages of two jobs."""
    found: list[UUID] = []
    cursor, total = None, 0
    while not found or cursor is not None:
        page = fl.reads.list("acme", cursor=cursor, limit=2, oldest_first=oldest_first)
        cursor, total = page.next_cursor, page.total
        found += [job.id for job in page.items]
    assert total == MINUTES
    return found


def test_r13_the_newest_come_first(scene: Scene, submitted: list[UUID]) -> None:
    assert pages(scene.fl) == submitted[::-1]
    assert pages(scene.fl, oldest_first=True) == submitted


@pytest.mark.slow
@pytest.mark.parametrize("name", AWAY)
def test_r13_each_is_found_by_its_date_and_nothing_else_is(scene: Scene, submitted: list[UUID], name: str) -> None:
    at = list(AWAY).index(name)
    since = START + timedelta(minutes=at + 1)
    until = since + timedelta(microseconds=1)

    filters: tuple[dict[str, Any], ...] = (
        {},
        {"status": "queued"},
        {"job_type": "report"},
        {"user": "ana"},
        {"queue": "slow"},
        {"label": LABEL},
    )
    for given in filters:
        page = scene.fl.list(organization="acme", created_after=since, created_before=until, **given)
        assert ([job.id for job in page.items], page.total) == ([submitted[at]], 1), given
        rest = scene.fl.list(organization="acme", created_after=until, **given)
        assert [job.id for job in rest.items] == submitted[:at:-1], given
        earlier = scene.fl.list(organization="acme", created_before=since, **given)
        assert [job.id for job in earlier.items] == submitted[:at][::-1], given


def test_r13_a_search_looks_at_those_that_were_submitted_last(
    scene: Scene, submitted: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlane.reads.jobs.SEARCHED_NEWEST", 2)

    assert [job.id for job in scene.fl.list(organization="acme", text="report").items] == submitted[:-3:-1]


def test_r15_each_is_counted_in_the_minute_of_its_submission(scene: Scene, submitted: list[UUID]) -> None:
    steps = scene.fl.reads.charts.timeline("acme", minutes=MINUTES).steps

    assert [step.submitted for step in steps] == [1] * MINUTES


def test_r13_a_bulk_action_comes_to_all_of_them(
    scene: Scene, submitted: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlane.engine.system.bulk_work._PAGE", 2)

    action = scene.fl.bulk.start("cancel", {}, organization="acme", seconds=PATIENCE)

    assert (action.changed, action.ended_at is not None) == (MINUTES, True)
    assert {scene.get(job).status for job in submitted} == {JobStatus.CANCELED}


def test_r1_an_outbox_that_hands_over_once_more_is_told_of_it(scene: Scene, submitted: list[UUID]) -> None:
    (_, old, *_) = submitted
    scene.clock.advance(86_400 * 9)

    with pytest.raises(DuplicateJob, match="was submitted before"):
        scene.fl.submit_many([Submission("report", organization="acme", user="ana", id=old)])
    assert scene.total() == MINUTES
