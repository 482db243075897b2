"""The one shape of all peers' scripts, and what is measured with it. Only the standard library, and psycopg if asked.

A script is called as a module, with a fresh store in BENCH_URL, and prints one line of JSON:

    drain N       jobs submitted in bulk per second, and run to the end per second by one worker; on Linux also the
                  microseconds of a processor that the worker took for each, and PostgreSQL, looks at it included
    single N      jobs submitted per second, each by itself and committed before the next, by a caller on an event loop
    pickup N      milliseconds from the call that submits one job to the first line of its handler, in an idle worker,
                  p50 and p99 of N jobs after pauses of random length
    neighbour N   seconds until the job of B starts that is submitted while A's N jobs of a millisecond wait
    killed        seconds until a job runs again whose worker was killed with SIGKILL in the middle of it, at the
                  default settings, with another worker started at once; null if it had not after 90 s
    about         what was used and where its settings come from
    work          be a worker

A peer without `submit_alone` is not measured by single and pickup, and prints an empty object.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any, ClassVar, Final, NamedTuple, Protocol, Self

from benchmarks.peers.handlers import FILE

URL: Final = "BENCH_URL"
BATCH: Final = 1000
AGAIN_WITHIN: Final = 90.0
_LOOK: Final = 0.01  # seconds between two looks at what is left
# A look takes at most this part of the time, so that counting holds up little of what it counts.
_LOOKING: Final = 0.1
_PATIENCE: Final = 120.0  # seconds without any progress
_END_SECONDS: Final = 10.0
_FIRST: Final = 10  # jobs before singles are measured, which make connections and plan statements
_PAUSES: Final = (0.02, 0.3)  # seconds before a job meets an idle worker, so that it meets it anywhere in its round


class Peer(Protocol):
    """A job queue at work.

    Attributes:
        package: whose version is told.
        settings: what differs from the defaults, in a few words.
        source: where its makers document those settings.
    """

    package: ClassVar[str]
    settings: ClassVar[str]
    source: ClassVar[str]

    def prepare(self) -> None:
        """Make the store ready."""

    def submit(self, kind: str, count: int, organization: str) -> None:
        """Submit so many jobs of `handlers`, in the fastest documented way; peers without organizations ignore that."""

    def remaining(self) -> int:
        """Return how many jobs have not ended, as the store shows them."""

    def work(self) -> None:
        """Be a worker until this process is ended."""


class OnLoop(Peer, Protocol):
    """A peer whose users submit single jobs on an event loop.

    Attributes:
        runner: has the loop.
    """

    runner: asyncio.Runner

    async def submit_alone(self, kind: str) -> None:
        """Submit one job of `handlers`, and return when it is committed."""


def url() -> str:
    """The store's."""
    return os.environ[URL]


def chunks(count: int) -> Iterator[int]:
    """Sizes of batches that are so many together."""
    while count > 0:
        yield min(count, BATCH)
        count -= BATCH


def counter(statement: str) -> Callable[[], int]:
    """Return a function that counts with a statement on PostgreSQL, on one connection, made at the first count."""
    connection: Any = None

    def count() -> int:
        nonlocal connection
        if connection is None:
            import psycopg  # noqa: PLC0415 - peers without PostgreSQL don't have it

            connection = psycopg.connect(url(), autocommit=True)
        row = connection.execute(statement).fetchone()
        assert row is not None
        return int(row[0])

    return count


def wait_for_end() -> None:
    """Wait until this process is ended, for workers that are threads."""
    threading.Event().wait()


def main(module: str, make: Callable[[], Any]) -> None:
    """Do what the command line says.

    Args:
        module: the script's name, to call it again as a worker.
        make: makes the script's `Peer`.
    """
    what, *numbers = sys.argv[1:]
    if what == "work":
        make().work()
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FILE] = str(Path(folder) / "lines")
        measure: dict[str, Callable[..., dict[str, Any]]] = {
            "about": _about,
            "drain": _drain,
            "single": _single,
            "pickup": _pickup,
            "neighbour": _neighbour,
            "killed": _killed,
        }
        result = measure[what](module, make(), *map(int, numbers))
    print(json.dumps(result))


def _about(_: str, peer: Peer) -> dict[str, Any]:
    return {
        "package": peer.package,
        "version": version(peer.package),
        "python": sys.version.partition(" ")[0],
        "settings": peer.settings,
        "source": peer.source,
    }


def _drain(module: str, peer: Peer, jobs: int) -> dict[str, Any]:
    peer.prepare()
    began = time.monotonic()
    peer.submit("noop", jobs, "a")
    submitted = time.monotonic()
    # The first look takes the longest, for what is made at it.
    assert peer.remaining() == jobs, "Not all jobs are in the store."
    with _worker(module) as worker:
        first = _line("first", time.monotonic() + _PATIENCE, worker)
        before = _processors(worker.pid)
        _wait_until_done(peer, worker, jobs)
        took = time.monotonic() - first
        spent = {name: (after - before[name]) * 1e6 / jobs for name, after in _processors(worker.pid).items()}
    return {"bulk": jobs / (submitted - began), "drain": jobs / took, **spent}


def _wait_until_done(peer: Peer, worker: "subprocess.Popen[bytes]", jobs: int) -> None:
    """Look at the store until it shows no job unfinished."""
    progressed, left = time.monotonic(), jobs
    while left > 0:
        looked = time.monotonic()
        now_left = peer.remaining()
        seen = time.monotonic()
        if now_left != left:
            left, progressed = now_left, seen
        _refuse(worker, progressed + _PATIENCE)
        if left > 0:
            time.sleep(max(_LOOK, (seen - looked) * (1 / _LOOKING - 1)))


def _processors(worker: int) -> dict[str, float]:
    """Return the seconds of a processor that a worker's processes have taken so far, and those of PostgreSQL."""
    if not Path("/proc/self/stat").exists():
        return {}
    programs = [one for path in Path("/proc").glob("[0-9]*/stat") if (one := _Program.read(path)) is not None]
    found = {"cpu-worker": sum(one.seconds for one in programs if one.group == worker)}
    if url().startswith("postgresql"):
        import psycopg  # noqa: PLC0415 - peers without PostgreSQL don't have it

        with psycopg.connect(url()) as connection:
            mine = _Program.read(Path(f"/proc/{connection.info.backend_pid}/stat"))
        assert mine is not None
        found["cpu-store"] = sum(one.seconds for one in programs if mine.parent in {one.number, one.parent})
    return found


class _Program(NamedTuple):
    """A process: its number, its parent's, that of its group; its seconds of a processor, with its ended children's."""

    number: int
    parent: int
    group: int
    seconds: float

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what Linux tells of it; None: it has ended."""
        try:
            number, rest = path.read_text().split(" (", 1)
        except (FileNotFoundError, ProcessLookupError):
            return None
        its = rest.rpartition(") ")[2].split()  # the name may have blanks
        return cls(int(number), int(its[1]), int(its[2]), sum(map(int, its[11:15])) / os.sysconf("SC_CLK_TCK"))


def _single(_: str, peer: OnLoop, jobs: int) -> dict[str, Any]:
    if not hasattr(peer, "submit_alone"):
        return {}
    peer.prepare()

    async def submit(count: int) -> None:
        for _ in range(count):
            await peer.submit_alone("noop")

    peer.runner.run(submit(_FIRST))
    began = time.monotonic()
    peer.runner.run(submit(jobs))
    took = time.monotonic() - began
    assert peer.remaining() == _FIRST + jobs, "Not all jobs are in the store."
    return {"single": jobs / took}


def _pickup(module: str, peer: OnLoop, jobs: int) -> dict[str, Any]:
    if not hasattr(peer, "submit_alone"):
        return {}
    peer.prepare()
    with _worker(module) as worker:
        # The loop goes on between jobs, as that of an application does.
        delays = peer.runner.run(_delays(peer, worker, jobs))
    cuts = quantiles(delays, n=100, method="inclusive")
    return {"pickup-p50": cuts[49], "pickup-p99": cuts[98]}


async def _delays(peer: OnLoop, worker: "subprocess.Popen[bytes]", jobs: int) -> list[float]:
    """Return the milliseconds of each job, without those of the first, which wait for what is made once."""
    delays: list[float] = []
    for number in range(_FIRST + jobs):
        await asyncio.sleep(random.uniform(*_PAUSES))
        called = time.monotonic()
        await peer.submit_alone("mark")
        while len(started := _moments("mark")) == number:
            _refuse(worker, called + _PATIENCE)
            await asyncio.sleep(_LOOK)
        delays.append((started[number] - called) * 1000)
    return delays[_FIRST:]


def _neighbour(module: str, peer: Peer, jobs: int) -> dict[str, Any]:
    peer.prepare()
    peer.submit("short", jobs, "a")
    with _worker(module) as worker:
        _line("first", time.monotonic() + _PATIENCE, worker)
        called = time.monotonic()
        peer.submit("mark", 1, "b")
        # Most make B wait for all that A has.
        started = _line("mark", called + _PATIENCE + jobs / 100, worker)
    return {"neighbour": started - called}


def _killed(module: str, peer: Peer) -> dict[str, Any]:
    peer.prepare()
    peer.submit("slow", 1, "a")
    with _worker(module) as first:
        _line("began", time.monotonic() + _PATIENCE, first)
        _signal(first, signal.SIGKILL)
        killed = time.monotonic()
    with _worker(module) as second:
        try:
            began = _line("began", killed + AGAIN_WITHIN, second, place=1)
        except TimeoutError:
            return {"again": None}
    return {"again": began - killed}


def _line(word: str, deadline: float, worker: "subprocess.Popen[bytes]", place: int = 0) -> float:
    """The moment in the line with this word, once it is there. Raises `TimeoutError` at the deadline."""
    while len(moments := _moments(word)) <= place:
        _refuse(worker, deadline)
        time.sleep(_LOOK)
    return moments[place]


def _moments(word: str) -> list[float]:
    """Return the moments in all lines with this word."""
    file = Path(os.environ[FILE])
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [float(line.split()[1]) for line in lines if line.split()[0] == word]


@contextmanager
def _worker(module: str) -> Iterator["subprocess.Popen[bytes]"]:
    command: Sequence[str] = [sys.executable, "-m", module, "work"]
    # Its words are for the user of the script; the one line on standard output is the script's own.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    try:
        yield child
    finally:
        _signal(child, signal.SIGTERM)
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            """Some never end when they are asked to."""
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send a signal to all processes of the worker."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        """It has ended."""


def _refuse(worker: "subprocess.Popen[bytes]", deadline: float) -> None:
    if worker.poll() is not None:
        raise RuntimeError(f"The worker ended with {worker.returncode}.")
    if time.monotonic() > deadline:
        raise TimeoutError("Nothing has moved.")
