"""Promise 3: busy organizations have their shares after 400 starts, however many slots and workers there are.

Jobs that do nothing are all alike, so each one's share of the starts is its share of the slots.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby

import pytest

from fairlane import Fairlane, Job, JobContext, Submission
from tests.engine.worker_kit import Engine, another, engine

STARTS = 400
NAMES = "abc"


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        register(fl)
        yield fl


def register(fl: Fairlane) -> None:
    @fl.job_type("nothing", dedup_window=0)
    async def nothing(ctx: JobContext) -> None: ...


def fill(fl: Fairlane, weights: Mapping[str, int], more: int) -> None:
    """Give each organization more than its share of the starts, in turn: so each has some left when these are over."""
    jobs = {name: STARTS * weight // sum(weights.values()) + more for name, weight in weights.items()}
    for name, weight in weights.items():
        fl.organizations.create(name, weight=weight)
    fl.submit_many(
        [
            Submission("nothing", organization=name, parameters={})
            for place in range(max(jobs.values()))
            for name in weights
            if place < jobs[name]
        ]
    )


def drain(fl: Engine, *, slots: int, workers: int) -> None:
    """Let so many workers, each of an engine of its own, run until nothing is left."""
    with ExitStack() as stack, ThreadPoolExecutor(workers) as threads:
        engines = [stack.enter_context(another(fl)) for _ in range(workers)]
        for one in engines:
            register(one)
        for drained in [threads.submit(one.worker(concurrency=slots).drain) for one in engines]:
            drained.result()


def first_starts(fl: Fairlane, weights: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Count by organization the first 400 starts, with the whole claim of the last of them; and all later starts."""
    jobs = sorted((job for name in weights for job in started(fl, name)), key=lambda job: (job.started_at, job.id))
    claims = [list(claim) for _, claim in groupby(jobs, key=lambda job: job.started_at)]
    first, later = Counter[str](), Counter[str]()
    for claim in claims:
        (first if first.total() < STARTS else later).update(job.organization for job in claim)
    return first, later


def started(fl: Fairlane, name: str) -> Iterator[Job]:
    cursor = None
    while True:
        page = fl.list(organization=name, limit=1000, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "slots", "workers"),
    [
        ((3, 1), 4, 1),
        ((3, 1), 4, 3),
        ((3, 1), 16, 2),
        ((3, 1), 64, 1),
        ((5, 2, 1), 4, 1),
        ((5, 2, 1), 4, 2),
        ((10, 1), 1, 1),
        ((10, 1), 4, 1),
        ((10, 1), 4, 3),
    ],
    ids=str,
)
def test_starts_are_within_5_percent_of_the_weights_after_400(
    fl: Engine, weights: tuple[int, ...], slots: int, workers: int
) -> None:
    named = dict(zip(NAMES, weights, strict=False))
    fill(fl, named, more=30 + 2 * slots * workers)
    drain(fl, slots=slots, workers=workers)

    first, later = first_starts(fl, named)

    assert set(later) == set(named), "each had jobs that waited all the time"
    for name, weight in named.items():
        assert first[name] == pytest.approx(weight / sum(weights) * first.total(), rel=0.05), first
