"""Measure the realtime side: latency and memory with many sockets, and the cost of a client that does not read.

    python -m benchmarks.realtime --url postgresql://… [--sockets 1000] [--seconds 30] [--nodes 2] [--only revocation]

It serves the API in a process of its own and watches it from here, so both share the machine. Latency is from just
before a change is written, here, to the receipt of its event, here: one clock.
"""

import argparse
import asyncio
import gc
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop
from sqlalchemy import insert, update

from benchmarks.listener import Arrival, Listener
from fairlane import Fairlane, JobContext, Submission
from fairlane.store.tables import live, progress

USERS = 20


@contextmanager
def served(url: str) -> Iterator[tuple[str, int]]:
    """The API in a process of its own: where, and its process id."""
    command = [sys.executable, "-m", "fairlane", "serve", "--url", url, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://[^/\s]+", process.stdout.readline())
        assert found is not None
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait(60)


def memory_of(pid: int) -> float:
    """Resident, in MB."""
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def processor_of(pid: int) -> float:
    """Seconds of a core that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told_as(name: str, seconds: list[float]) -> None:
    """Print percentiles."""
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99) - 1]
    print(
        f"{name}: {len(ordered)} events, p50 {statistics.median(ordered) * 1000:.0f} ms, "
        f"p99 {p99 * 1000:.0f} ms, longest {ordered[-1] * 1000:.0f} ms",
        flush=True,
    )


async def many_sockets(fl: Fairlane, base: str, pid: int, secrets: list[str], count: int, seconds: float) -> None:
    """`count` sockets of one organization; a job a second is submitted and canceled."""
    written: dict[tuple[str, str], float] = {}
    arrived: list[Arrival] = []
    before = memory_of(pid)
    gate = asyncio.Semaphore(20)

    async def opened(number: int) -> Listener:
        async with gate:
            return await Listener.open(base, secrets[number % USERS], {"organization": "acme"}, arrived.append)

    begun = time.monotonic()
    listeners = await asyncio.gather(*(opened(number) for number in range(count)))
    took = time.monotonic() - begun
    memory = f"{before:.0f} MB before, {memory_of(pid):.0f} MB with them"
    print(f"{count} sockets: open after {took:.0f} s; {memory}", flush=True)
    until, spent = time.monotonic() + seconds, processor_of(pid)
    while time.monotonic() < until:
        begun = time.perf_counter()
        job = await asyncio.to_thread(fl.submit, "report", organization="acme")
        written[str(job.id), "queued"] = begun
        await asyncio.sleep(0.5)
        written[str(job.id), "canceled"] = time.perf_counter()
        await asyncio.to_thread(fl.cancel, job.id, organization="acme")
        await asyncio.sleep(0.5)
    for _ in range(300):
        if sum("to_status" in data for _, data, _ in arrived) >= len(written) * count:
            break
        await asyncio.sleep(0.1)
    spent = processor_of(pid) - spent
    delays = [at - written[data["job_id"], data["to_status"]] for name, data, at in arrived if "to_status" in data]
    others = {name for name, _, _ in arrived} - {"job_status_changed"}
    told_as(f"{count} sockets, write to receipt (of {len(written) * count}; other events: {others or 'none'})", delays)
    each = spent / max(len(arrived), 1) * 1e6
    print(
        f"{count} sockets: {memory_of(pid):.0f} MB after {seconds:.0f} s; {each:.0f} µs of a core an event", flush=True
    )
    _close(listeners)


async def progress_of_many(fl: Fairlane, base: str, pid: int, secrets: list[str], seconds: float) -> None:
    """50 sockets, 100 running jobs, each with progress once a second."""
    ids = await asyncio.to_thread(_running_jobs, fl)
    written: dict[tuple[str, float], float] = {}
    arrived: list[Arrival] = []
    listeners = [
        await Listener.open(base, secrets[n % USERS], {"organization": "acme"}, arrived.append) for n in range(50)
    ]
    until, percent = time.monotonic() + seconds, 0.0
    while time.monotonic() < until:
        round_ends = time.monotonic() + 1.0
        percent += 0.5
        for job_id in ids:
            written[str(job_id), percent] = time.perf_counter()
            await asyncio.to_thread(_set_progress, fl, job_id, percent)
            await asyncio.sleep(0.004)
        await asyncio.sleep(max(round_ends - time.monotonic(), 0))
    await asyncio.sleep(2)
    delays = [
        at - written[data["job_id"], data["percent"]]
        for name, data, at in arrived
        if name == "job_progress" and (data["job_id"], data["percent"]) in written
    ]
    told_as(f"50 sockets, 100 running jobs: progress ({len(written)} written)", delays)
    print(f"50 sockets: {memory_of(pid):.0f} MB", flush=True)
    _close(listeners)


async def stalled(fl: Fairlane, base: str, pid: int, secrets: list[str], seconds: float) -> None:
    """20 sockets that never read, and one that does, while 400 jobs a second are submitted."""
    arrived: list[Arrival] = []
    reading = await Listener.open(base, secrets[0], {"organization": "acme"}, arrived.append)
    before = memory_of(pid)
    wanted = {"organization": "acme"}
    deaf = [await Listener.open(base, secrets[1], wanted, arrived.append, buffer=4096) for _ in range(20)]
    for one in deaf:
        one.transport.pause_reading()
    most, count, until = 0.0, 0, time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.to_thread(fl.submit_many, [Submission("report", organization="acme") for _ in range(200)])
        count += 200
        most = max(most, memory_of(pid))
        await asyncio.sleep(0.5)
    await asyncio.sleep(2)
    statuses = [one for one in arrived if one[0] == "job_status_changed"]
    print(
        f"20 stalled sockets, {count} events: at most {most - before:.1f} MB more "
        f"({(most - before) / 20:.2f} MB each); the one that reads got {len(statuses)}",
        flush=True,
    )
    _close([reading, *deaf])


async def revocation(fl: Fairlane, bases: list[str], count: int) -> None:
    """Members with a socket at each node lose what let them in, one after the other, at any moment of a second."""
    ways = {
        "membership removed": lambda user, _token: fl.members.remove("acme", user),
        "token revoked": lambda _user, token: fl.tokens.revoke(token.id, organization="acme"),
        "user disabled": lambda user, _token: fl.users.update(user, disabled=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(count):
        name = list(ways)[number % len(ways)]
        user = f"leaver-{time.time_ns()}"
        fl.users.create(user)
        fl.members.add("acme", user)
        token, secret = fl.tokens.create(organization="acme", as_user=user, name="bench")
        arrived: list[Arrival] = []
        listeners = [await Listener.open(base, secret, {"organization": "acme"}, arrived.append) for base in bases]
        await asyncio.sleep(random.random())  # the looks are each second
        begun = time.perf_counter()
        await asyncio.to_thread(ways[name], user, token)
        await asyncio.wait_for(asyncio.gather(*(one.closed for one in listeners)), 60)
        goodbyes = [at for event, _, at in arrived if event == "revoked"]
        assert len(goodbyes) == len(bases), "each node said so"
        taken[name].append(max(goodbyes) - begun)
        _close(listeners)
    for name, seconds in taken.items():
        told_as(f"revocation on {len(bases)} nodes, {name}", seconds)
    every = [one for seconds in taken.values() for one in seconds]
    told_as(f"revocation on {len(bases)} nodes", every)


def _close(listeners: list[Listener]) -> None:
    for one in listeners:
        one.transport.abort()


def _running_jobs(fl: Fairlane) -> list[UUID]:
    """Write 100 jobs as running; no worker is needed to send events of them."""
    ids = [fl.submit("report", organization="acme").id for _ in range(100)]

    def work(connection: Any) -> None:
        now = fl.database.clock.now(connection)
        mine = (live.c.organization_id == "acme") & live.c.id.in_(ids)
        connection.execute(update(live).where(mine).values(status="running", ready=False, attempt=1, started_at=now))
        rows = [{"organization_id": "acme", "job_id": one, "attempt": 1, "sequence": 1, "at": now} for one in ids]
        connection.execute(insert(progress), rows)

    fl.database.write(work, of="acme")
    return ids


def _set_progress(fl: Fairlane, job_id: UUID, percent: float) -> None:
    def work(connection: Any) -> None:
        now = fl.database.clock.now(connection)
        mine = (progress.c.organization_id == "acme") & (progress.c.job_id == job_id)
        values = {"percent": percent, "at": now, "sequence": progress.c.sequence + 1}
        connection.execute(update(progress).where(mine).values(values))

    fl.database.write(work, of="acme")


def report(ctx: JobContext) -> None:
    """No worker runs it."""


async def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sockets", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--nodes", type=int, default=2, help="servers on the one database, for revocation")
    parser.add_argument("--revocations", type=int, default=60)
    parser.add_argument("--only", choices=["sockets", "progress", "stalled", "revocation"])
    given = parser.parse_args()
    with Fairlane(given.url) as fl:
        fl.job_type("report", dedup_window=0)(report)
        fl.migrate()
        if "acme" not in {one.id for one in fl.organizations.list()}:
            fl.organizations.create("acme")
        secrets = []
        for number in range(USERS):
            fl.members.add("acme", f"user-{number}")
            secrets.append(fl.tokens.create(organization="acme", as_user=f"user-{number}", name="bench")[1])
        gc.disable()  # the server's pauses are measured, and not those of who measures
        with served(given.url) as (base, pid):
            if given.only in {None, "sockets"}:
                await many_sockets(fl, base, pid, secrets, given.sockets, given.seconds)
            if given.only in {None, "progress"}:
                await progress_of_many(fl, base, pid, secrets, given.seconds)
            if given.only in {None, "stalled"}:
                await stalled(fl, base, pid, secrets, given.seconds)
        if given.only in {None, "revocation"}:
            with ExitStack() as stack:
                nodes = [stack.enter_context(served(given.url))[0] for _ in range(given.nodes)]
                await revocation(fl, nodes, given.revocations)


if __name__ == "__main__":
    uvloop.run(main())
