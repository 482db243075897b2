"""`python -m benchmarks.api_flood`: what a flood of one organization costs the others who use the REST API.

Ten organizations send their usual requests, two a second each, at the API that `fairlane serve` serves. Beside them one
organization floods it: by one user who sends 20 times as many looks as a user may, nearly all of which are refused, or
by 20 users who each send as many as they may, half of which is beyond what their organization may. Quiet and flooded
stretches take turns. Measured is how long the others wait, from the moment when a request was to be sent.
"""

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx

from benchmarks.api_site import JOB_TYPE, Caller, served
from fairlane import WebSettings

_OTHERS: Final = [f"other-{number}" for number in range(10)]
_FLOODER: Final = "flooder"
_TIMES: Final = 20
_EACH_SECOND: Final = 2  # requests of each of the others
# Of each five requests one submits and one lists, far within what a user may.
_ROUND: Final = ("submit", "status", "status", "list", "status")
_QUIET, _ONE, _TOGETHER = "quiet", "one user", "20 users"
_TIMEOUT: Final = 60.0  # seconds
# The server closes what was idle for five seconds, perhaps just when it is to be used again.
_CONNECTIONS: Final = httpx.Limits(max_connections=200, keepalive_expiry=2.0)
_FLOOD_CONNECTIONS: Final = 150
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_LEAD: Final = 3.0  # seconds from the beginning of a flood until others are measured: by then it has used up its looks


class Answer(NamedTuple):
    """The answer to a request: its kind, its status, and the seconds from the moment at which it was to be sent."""

    kind: str
    status: int
    seconds: float


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_flood", description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own; the default is SQLite")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each stretch")
    parser.add_argument("--rounds", type=int, default=3, help="each has a quiet stretch and one of each flood")
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    asked = parser.parse_args()
    with served(dict.fromkeys(_OTHERS, 1) | {_FLOODER: 1 + _TIMES}, postgres=asked.postgres) as site:
        others = [site.callers[name][0] for name in _OTHERS]
        alone, *together = site.callers[_FLOODER]
        floods = {_QUIET: [], _ONE: [alone], _TOGETHER: together}
        told: dict[str, list[Answer]] = {name: [] for name in floods}
        flooded: dict[str, Counter[int]] = {name: Counter() for name in floods}
        asyncio.run(send_all(site.url, others, 2.0, _EACH_SECOND))  # connections, caches
        for _ in range(asked.rounds):
            for name, callers in floods.items():
                with flood(site.url, callers) as statuses:
                    told[name] += asyncio.run(send_all(site.url, others, asked.seconds, _EACH_SECOND))
                flooded[name] += statuses
        document = {
            "measured_on": datetime.now(UTC).date().isoformat(),
            **site.about,
            "seconds": asked.seconds * asked.rounds,
            "others": len(others),
            "requests_a_second_of_each": _EACH_SECOND,
            "stretches": {
                name: figures(told[name], flooded[name], (asked.seconds + _LEAD) * asked.rounds) for name in floods
            },
        }
    print("\n".join(table(document)))
    if asked.json is not None:
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


async def send_all(url: str, callers: Sequence[Caller], seconds: float, each_second: float) -> list[Answer]:
    """Have each send so many requests a second, at moments of their own, whether or not the last was answered."""
    answers: list[Answer] = []
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=_CONNECTIONS) as client:
        began = asyncio.get_running_loop().time() + 0.1
        async with asyncio.TaskGroup() as tasks:
            for place, caller in enumerate(callers):
                shift = place / len(callers) / each_second
                for number, kind in zip(range(int(seconds * each_second)), cycle(_ROUND), strict=False):
                    at = began + shift + number / each_second
                    tasks.create_task(_send(client, caller, kind, at, answers))
    return answers


async def _send(client: httpx.AsyncClient, caller: Caller, kind: str, at: float, answers: list[Answer]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at - loop.time())
    headers, jobs = {"Authorization": f"Bearer {caller.token}"}, f"/organizations/{caller.organization}/jobs"
    match kind:
        case "submit":
            answer = await client.post(jobs, headers=headers, json={"job_type": JOB_TYPE})
        case "list":
            answer = await client.get(jobs, headers=headers)
        case _:
            answer = await client.get(f"{jobs}/{caller.job}", headers=headers)
    answers.append(Answer(kind, answer.status_code, loop.time() - at))


@contextmanager
def flood(url: str, callers: Sequence[Caller]) -> Iterator[Counter[int]]:
    """While the block runs, these send looks from a process of their own; afterwards there is what was answered."""
    statuses: Counter[int] = Counter()
    if not callers:
        yield statuses
        return
    spawned = get_context("spawn")
    stop, begun, answered = spawned.Event(), spawned.Event(), spawned.SimpleQueue()
    process = spawned.Process(target=_flood, args=(url, list(callers), begun, stop, answered))
    process.start()
    begun.wait()
    time.sleep(_LEAD)
    try:
        yield statuses
    finally:
        stop.set()
        statuses.update(answered.get())
        process.join()


def _flood(url: str, callers: list[Caller], begun: Event, stop: Event, answered: Any) -> None:
    """20 times a user's looks a second, shared among the callers."""
    answered.put(asyncio.run(_flood_on(url, callers, begun, stop)))


async def _flood_on(url: str, callers: list[Caller], begun: Event, stop: Event) -> Counter[int]:
    """Bare sockets: a client that has more to do than they would take the processor from the server, on one machine."""
    rate = _TIMES * WebSettings().rate_status / 60
    statuses: Counter[int] = Counter()
    parsed, loop = urlsplit(url), asyncio.get_running_loop()
    requests = cycle([_look(parsed.path, caller) for caller in callers])
    due = loop.time()

    async def keep_sending() -> None:
        nonlocal due
        while not stop.is_set():
            reader, writer = await asyncio.open_connection(parsed.hostname, parsed.port)
            with suppress(OSError, asyncio.IncompleteReadError):
                while not stop.is_set():
                    # What could not be sent in time is not made up for: a flood has so many connections and no more.
                    due = max(due + 1 / rate, loop.time() - 1)
                    await asyncio.sleep(max(due - loop.time(), 0))
                    writer.write(next(requests))
                    statuses[await _status(reader)] += 1
            writer.close()

    begun.set()
    await asyncio.gather(*(keep_sending() for _ in range(_FLOOD_CONNECTIONS)))
    return statuses


def _look(root: str, caller: Caller) -> bytes:
    path = f"{root}/organizations/{caller.organization}/jobs/{caller.job}"
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {caller.token}\r\n\r\n".encode()


async def _status(reader: asyncio.StreamReader) -> int:
    """Read an answer to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    await reader.readexactly(int(length[1]) if length is not None else 0)
    return int(head.split(maxsplit=2)[1])


def figures(answers: Sequence[Answer], flooded: Counter[int], seconds: float) -> dict[str, Any]:
    """Return the others' waits in one kind of stretch, in milliseconds, and the flood's answers by status."""
    waits = [1000 * one.seconds for one in answers]
    hundredths = quantiles(waits, n=100)
    by_kind = {kind: [1000 * one.seconds for one in answers if one.kind == kind] for kind in sorted(set(_ROUND))}
    return {
        "requests": len(answers),
        "refused": sum(one.status >= 400 for one in answers),
        "p50": hundredths[49],
        "p95": hundredths[94],
        "p99": hundredths[98],
        "p95_by_kind": {kind: quantiles(some, n=100)[94] for kind, some in by_kind.items()},
        "flood_a_second": flooded.total() / seconds,
        "flood_by_status": {str(status): number for status, number in sorted(flooded.items())},
    }


def table(document: dict[str, Any]) -> Iterator[str]:
    """The figures, for people."""
    stretches = document["stretches"]
    calm = stretches[_QUIET]["p95"]
    yield f"{'flood':<20}{'flood/s':>9}{'others':>9}{'refused':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'p95 ×':>8}"
    for name, one in stretches.items():
        waits = "".join(f"{one[key]:>9.1f}" for key in ("p50", "p95", "p99"))
        numbers = f"{one['flood_a_second']:>9.0f}{one['requests']:>9}{one['refused']:>9}"
        yield f"{name:<20}{numbers}{waits}{one['p95'] / calm:>8.2f}"


if __name__ == "__main__":
    main()
