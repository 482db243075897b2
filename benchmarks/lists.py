"""Measure how fast lists and charts answer with a million jobs: each filter of REST, with row security on.

    python -m benchmarks.lists --url postgresql://… [--jobs 1000000] [--times 30] [--only NAME] [--json FILE]

The database is filled first, unless it has as many jobs: by SQL, as a million submissions take minutes. Then each
question is asked `--times` times, with other values each time, through the read service that the API asks, as the roles
that it asks as. Organizations are of very different sizes: one has seven tenths of the jobs, a thousand have a hundred.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from benchmarks.lists_fill import fill
from fairlane import Fairlane, JobStatus
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements.job_list import Place

BOUND = 150.0  # milliseconds, at the 95th percentile
Question = Callable[[Fairlane, random.Random], object]
Filters = Callable[[random.Random], Mapping[str, Any]]
_SPANS = {"an hour": (60, 1), "six hours": (360, 5), "a day": (1440, 10), "a day in 240 steps": (1440, 6)}
ORGANIZATIONS = ("big", "middle", "small-7")


def _status(status: str, _: random.Random) -> Mapping[str, Any]:
    return {"status": status}


_RESTING = [one for one in JobStatus if one not in {JobStatus.FAILED, JobStatus.TIMED_OUT}]
# What fits many, few and no jobs of an organization, each asked for by itself and with others.
_FILTERS: Mapping[str, Filters] = {
    "all": lambda _: {},
    **{f"status {one}": partial(_status, one) for one in _RESTING},
    "status live": lambda _: {"status": ["pending", "queued", "running"]},
    "status all by name": lambda _: {"status": _RESTING},
    "waiting for a retry": lambda _: {"waiting_for": "retry"},
    "type frequent": lambda r: {"job_type": f"type-{r.randrange(5)}"},
    "type rare": lambda r: {"job_type": f"rare-{r.randrange(50)}"},
    "type unknown": lambda r: {"job_type": f"nothing-{r.randrange(50)}"},
    "user frequent": lambda r: {"user": f"user-{r.randrange(3)}"},
    "user rare": lambda r: {"user": f"guest-{r.randrange(1000)}"},
    "user unknown": lambda r: {"user": f"nobody-{r.randrange(1000)}"},
    "queue default": lambda _: {"queue": "default"},
    "queue frequent": lambda r: {"queue": f"bulk-{r.randrange(3)}"},
    "queue rare": lambda r: {"queue": f"odd-{r.randrange(20)}"},
    "queue unknown": lambda r: {"queue": f"none-{r.randrange(20)}"},
    "label frequent": lambda _: {"label": {"stage": "live"}},
    "label rare": lambda r: {"label": {"document": str(r.randrange(5_000))}},
    "label unknown": lambda r: {"label": {"document": f"x{r.randrange(5_000)}"}},
    "labels frequent and rare": lambda r: {"label": {"stage": "live", "document": str(r.randrange(5_000))}},
    "labels that exclude each other": lambda _: {"label": {"stage": "live", "kind": "test"}},
    "time newest": lambda r: {"created_after": _ago(minutes=r.uniform(1, 60))},
    "time middle": lambda r: _between(r.uniform(5, 25), hours=6),
    "time oldest": lambda r: {"created_before": _ago(days=29 + r.random())},
    "time nothing": lambda r: {"created_before": _ago(days=40 + r.random())},
    "text id": lambda r: {"text": f"{r.randrange(2**16):04x}"},
    "text type": lambda r: {"text": f"type-{r.randrange(5)}"},
    "text error": lambda r: {"text": f"paper {r.randrange(100)}"},
    "text unknown": lambda r: {"text": f"zzz {r.randrange(100)}"},
    "status and type": lambda r: {"status": "dead_letter", "job_type": f"type-{r.randrange(5)}"},
    "status and type that exclude each other": lambda r: {"status": "canceled", "job_type": f"type-{r.randrange(2)}"},
    "status and user": lambda r: {"status": "dead_letter", "user": f"user-{r.randrange(3)}"},
    "status and user that exclude each other": lambda _: {"status": "canceled", "user": "user-0"},
    "status and rare user": lambda r: {"status": "completed", "user": f"guest-{r.randrange(1000)}"},
    "status and queue": lambda r: {"status": "completed", "queue": f"odd-{r.randrange(20)}"},
    "status and label": lambda _: {"status": "dead_letter", "label": {"stage": "live"}},
    "status and time": lambda r: {"status": "completed", **_between(r.uniform(5, 25), hours=6)},
    "status and text": lambda r: {"status": "dead_letter", "text": f"paper {r.randrange(100)}"},
    "type and user": lambda r: {"job_type": f"type-{r.randrange(5)}", "user": f"user-{r.randrange(3)}"},
    "type and user that exclude each other": lambda _: {"job_type": "type-0", "user": "user-1"},
    "type and time": lambda r: {"job_type": f"type-{r.randrange(5)}", **_between(r.uniform(5, 25), hours=6)},
    "type and queue that exclude each other": lambda _: {"job_type": "type-1", "queue": "bulk-0"},
    "user and time": lambda r: {"user": f"user-{r.randrange(3)}", **_between(r.uniform(5, 25), hours=6)},
    "queue and time": lambda r: {"queue": f"odd-{r.randrange(20)}", **_between(r.uniform(5, 25), hours=6)},
    "everything": lambda r: {
        "status": "completed",
        "job_type": f"type-{r.randrange(5)}",
        "user": f"user-{r.randrange(3)}",
        "queue": "default",
        "label": {"stage": "live"},
        **_between(r.uniform(5, 25), hours=24),
    },
}


def _ago(**length: float) -> datetime:
    return datetime.now(UTC) - timedelta(**length)


def _between(days: float, *, hours: float) -> dict[str, Any]:
    return {"created_after": _ago(days=days), "created_before": _ago(days=days) + timedelta(hours=hours)}


def _list(organization: str, filters: Filters, fl: Fairlane, chance: random.Random) -> object:
    return fl.reads.list(organization, limit=chance.choice([20, 50, 100]), **filters(chance))


def _counts(organization: str, filters: Filters, fl: Fairlane, chance: random.Random) -> object:
    return fl.reads.matching.counts(organization, **filters(chance))


def _deep(organization: str, filters: Filters, fl: Fairlane, chance: random.Random) -> object:
    """A page from somewhere in the month, without the jobs themselves."""
    before = Place(_ago(days=chance.uniform(1, 29)), UUID(int=0))
    wanted = fl.reads.matching.resolved(organization, **filters(chance))
    return fl.reads.matching.places(organization, wanted, before=before, limit=100)


def _timeline(organization: str | None, minutes: int, step: int, fl: Fairlane, _: random.Random) -> object:
    return fl.reads.charts.timeline(organization, minutes=minutes, step=step)


def _lists(organization: str) -> Iterator[tuple[str, Question]]:
    for name, filters in _FILTERS.items():
        yield f"list, {name}", partial(_list, organization, filters)
        yield f"counts, {name}", partial(_counts, organization, filters)


def _pages(organization: str) -> Iterator[tuple[str, Question]]:
    for name in ("all", "status completed", "type frequent", "user frequent", "queue frequent", "label frequent"):
        yield f"a page further back, {name}", partial(_deep, organization, _FILTERS[name])


def _charts(organization: str) -> Iterator[tuple[str, Question]]:
    for name, (minutes, step) in _SPANS.items():
        yield f"timeline, {name}", partial(_timeline, organization, minutes, step)
    yield "dead letters", lambda fl, r: fl.dead_letters.list(organization=organization, limit=r.choice([20, 50, 100]))
    yield "dead letters, any", lambda fl, _: fl.dead_letters.list(organization=organization, resolution=None)
    yield (
        "dead letters of a group",
        lambda fl, r: fl.dead_letters.list(organization=organization, fingerprint=f"print-{r.randrange(40)}"),
    )
    yield "dead letter groups", lambda fl, _: fl.dead_letters.groups(organization=organization)
    yield "metrics, an hour", lambda fl, _: fl.metrics(organization=organization)
    yield "metrics, a day", lambda fl, _: fl.metrics(organization=organization, minutes=1440)
    yield "running", lambda fl, _: fl.reads.running(organization, limit=200)
    yield "queues", lambda fl, _: fl.reads.queues(organization)


def _operators() -> Iterator[tuple[str, Question]]:
    yield "metrics, an hour", lambda fl, _: fl.metrics()
    yield "metrics, a day", lambda fl, _: fl.metrics(minutes=1440)
    yield "timeline, an hour", lambda fl, _: fl.reads.charts.timeline(None)
    yield "timeline, a day", lambda fl, _: fl.reads.charts.timeline(None, minutes=1440, step=10)
    yield "shares, an hour", lambda fl, _: fl.reads.charts.shares()
    yield "running", lambda fl, _: fl.reads.running(limit=200)
    yield "queues", lambda fl, _: fl.reads.queues()
    yield "stranded", lambda fl, _: fl.reads.stranded()
    yield "workers", lambda fl, _: fl.reads.workers()


def questions() -> Iterator[tuple[str, str, Question]]:
    """Yield each question: its organization, its name, and the function that asks it."""
    for organization in ORGANIZATIONS:
        for part in (_lists, _pages, _charts):
            for name, ask in part(organization):
                yield organization, name, ask
    for name, ask in _operators():
        yield "all", name, ask


def _measured(fl: Fairlane, ask: Question, times: int) -> list[float]:
    """Milliseconds, each with values of its own."""
    taken = []
    for number in range(times):
        chance = random.Random(number)
        begun = time.perf_counter()
        ask(fl, chance)
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def _role(connection: Connection) -> str:
    return str(connection.execute(text("SELECT current_user")).scalar_one())


def main() -> None:
    """Fill, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--only", default="", help="questions that hold this text, as 'big: list'")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told, slow = [], []
    with Fairlane(given.url) as fl:
        fl.migrate()
        fill(given.url, given.jobs)
        roles = {fl.database.read(_role, of=one) for one in ("big", EVERYONE)}
        print(f"asked as {', '.join(sorted(roles))}")
        for organization, name, ask in questions():
            if given.only not in f"{organization}: {name}":
                continue
            taken = sorted(_measured(fl, ask, given.times))
            p50, p95 = statistics.median(taken), taken[max(int(len(taken) * 0.95) - 1, 0)]
            told.append({"organization": organization, "question": name, "p50": round(p50, 1), "p95": round(p95, 1)})
            late = p95 > BOUND
            slow += [told[-1]] if late else []
            print(
                f"{organization:8}  {name:50}  p50 {p50:7.1f} ms  p95 {p95:7.1f} ms{'  SLOW' if late else ''}",
                flush=True,
            )
    print(f"{len(told)} questions, {len(slow)} of them above {BOUND:.0f} ms at the 95th percentile")
    if given.json is not None:
        found = {"jobs": given.jobs, "times": given.times, "bound": BOUND, "answers": told}
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
