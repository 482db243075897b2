"""`python -m benchmarks.api_alike`: whether the REST API takes as long to refuse what is another's as what nobody has.

Requests for the one and for the other take turns, in an order of chance. Where they are alike the medians differ by
less than one run does from the next, and of two the one for another's is the slower one half of the times. That both
send the same statements, a test says: tests/security/test_alike_in_time.py.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final
from uuid import uuid4

import httpx

from benchmarks.api_site import Caller, served

_PLENTY: Final = "1000000000"  # requests a minute: what is measured is no refusal of too many
_PARTS: Final = 10  # of a run, to see how much it differs from itself
_FIRST: Final = 50  # requests that make connections and fill caches

# For a request: the caller's organization, and a job that is another's or nobody's.
Ask = Callable[[str, str], str]
QUESTIONS: Final[dict[str, Ask]] = {
    "a job": lambda mine, job: f"/organizations/{mine}/jobs/{job}",
    "its history": lambda mine, job: f"/organizations/{mine}/jobs/{job}/history",
    "its explanation": lambda mine, job: f"/organizations/{mine}/jobs/{job}/explanation",
    "its result": lambda mine, job: f"/organizations/{mine}/jobs/{job}/result",
}


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_alike", description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own; the default is SQLite")
    parser.add_argument("--requests", type=int, default=2000, help="of each kind, for each question")
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    asked = parser.parse_args()
    with served({"mine": 1, "theirs": 1}, postgres=asked.postgres, FAIRLANE_RATE_STATUS=_PLENTY) as site:
        (me,), (they,) = site.callers["mine"], site.callers["theirs"]
        found = {name: compare(site.url, me, pair, asked.requests) for name, pair in pairs(me, they).items()}
        document = {"measured_on": datetime.now(UTC).date().isoformat(), **site.about, "questions": found}
    print("\n".join(table(found)))
    if asked.json is not None:
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def pairs(me: Caller, they: Caller) -> dict[str, tuple[Callable[[], str], Callable[[], str]]]:
    """Return for each question the addresses of what is theirs and of what is nobody's."""
    found: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
        name: (
            lambda ask=ask: ask(me.organization, they.job),  # type: ignore[misc]
            lambda ask=ask: ask(me.organization, str(uuid4())),  # type: ignore[misc]
        )
        for name, ask in QUESTIONS.items()
    }
    found["an organization"] = lambda: f"/organizations/{they.organization}", lambda: "/organizations/nobody"
    return found


def compare(url: str, me: Caller, pair: tuple[Callable[[], str], Callable[[], str]], requests: int) -> dict[str, float]:
    """The times of both kinds, in microseconds."""
    random = Random(1)
    theirs: list[float] = []
    nobodys: list[float] = []
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {me.token}"}, timeout=60) as client:
        for number in range(requests + _FIRST):
            for kind in random.sample((0, 1), 2):
                path = pair[kind]()
                began = time.perf_counter()
                answer = client.get(path)
                seconds = time.perf_counter() - began
                assert answer.status_code == 404, answer.text
                if number >= _FIRST:
                    (theirs, nobodys)[kind].append(1e6 * seconds)
    part = requests // _PARTS
    parts = [
        median(theirs[first : first + part]) - median(nobodys[first : first + part])
        for first in range(0, part * _PARTS, part)
    ]
    return {
        "theirs": median(theirs),
        "nobodys": median(nobodys),
        "difference": median(theirs) - median(nobodys),
        "least_of_parts": min(parts),
        "most_of_parts": max(parts),
        "theirs_slower": sum(one > other for one, other in zip(theirs, nobodys, strict=True)) / requests,
    }


def table(found: dict[str, Any]) -> Iterator[str]:
    """The figures, for people."""
    heads = ("theirs", 9), ("nobody's", 10), ("difference", 12), ("in parts of the run", 22), ("slower", 9)
    yield f"{'median, µs':<18}" + "".join(f"{head:>{width}}" for head, width in heads)
    for name, one in found.items():
        parts = f"{one['least_of_parts']:+.0f} to {one['most_of_parts']:+.0f}"
        medians = f"{one['theirs']:>9.0f}{one['nobodys']:>10.0f}{one['difference']:>+12.0f}"
        yield f"{name:<18}{medians}{parts:>22}{one['theirs_slower']:>9.1%}"


if __name__ == "__main__":
    main()
