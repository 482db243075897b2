"""`fairlane worker --metrics-port` as processes of their own: their probes, and the port of each."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from fairlane import Fairlane
from tests.acceptance.program import Program
from tests.engine.worker_kit import until
from tests.engine.worker_outages import OwnServer, own_server
from tests.scraping import HOST, free_ports, probe, scrape

pytestmark = pytest.mark.slow

HANDLERS = """
import sys
from fairlane import Fairlane

fl = Fairlane()

def read(fifo: str) -> str:
    print("waiting", file=sys.stderr, flush=True)
    with open(fifo) as line:
        return line.read()

@fl.job_type("wait", dedup_window=0)
def wait(ctx, fifo: str) -> str:
    return read(fifo)

@fl.job_type("block", dedup_window=0)
async def block(ctx, fifo: str) -> str:
    return read(fifo)
"""
Start = Callable[..., Program]


@contextmanager
def starting(directory: Path, url: str) -> Iterator[Start]:
    """Yield a function that starts workers, which end with the block."""
    (directory / "handlers.py").write_text(HANDLERS)
    started: list[Program] = []

    def begin(*arguments: object, **environment: str) -> Program:
        started.append(Program(directory, url, "worker", *map(str, arguments), **environment))
        return started[-1]

    try:
        yield begin
    finally:
        for program in started:
            with program:
                """Its end."""


@pytest.fixture
def start(tmp_path: Path, sqlite_url: str) -> Iterator[Start]:
    with starting(tmp_path, sqlite_url) as begin:
        yield begin


@pytest.fixture
def fl(sqlite_url: str) -> Iterator[Fairlane]:
    with Fairlane(sqlite_url) as made:
        made.organizations.create("acme")
        yield made


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def server(run_directory: Path) -> Iterator[OwnServer]:
    with own_server(run_directory / f"own-{uuid4().hex}") as server:
        yield server


def until_it_is(port: int, status: int, sentence: str = "") -> None:
    """Wait until the worker is ready, or is not for this reason."""

    def is_so() -> bool:
        answer = probe(port, "readyz")
        return answer.status == status and sentence in answer.sentence

    until(is_so)


def test_a_worker_without_its_database_is_not_ready_and_lives(server: OwnServer, tmp_path: Path):
    port = free_ports()
    with starting(tmp_path, server.url) as start:
        start("--metrics-port", port)
        until_it_is(port, 200)
        server.stop()
        until_it_is(port, 503, "the database does not answer")
        assert probe(port, "livez").status == 200
        found = scrape(port)
        assert found["fairlane_worker_unready"][("database",)] == 1
        assert sum(found["fairlane_storage_errors_total"].values()) >= 1
        server.start()
        until_it_is(port, 200)
        assert set(scrape(port)["fairlane_worker_unready"].values()) == {0}


def test_a_worker_that_starts_without_its_database_is_not_ready_until_it_is_there(server: OwnServer, tmp_path: Path):
    port = free_ports()
    server.stop()
    with starting(tmp_path, server.url) as start:
        start("--metrics-port", port)
        until_it_is(port, 503, "the database does not answer")
        server.start()
        until_it_is(port, 200)


def test_a_worker_whose_database_is_silent_is_not_ready(server: OwnServer, tmp_path: Path):
    port = free_ports()
    with starting(tmp_path, server.url) as start:
        start("--metrics-port", port, FAIRLANE_LEASE="3")
        until_it_is(port, 200)
        with psycopg.connect(server.url, autocommit=True) as connection:
            processes = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity")]
        processes.append(server.pid)
        with stopped(processes):
            until_it_is(port, 503)
            assert probe(port, "livez").status == 200
        until_it_is(port, 200)


@contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    """Stop these processes while the block runs; some may have ended."""

    def send(number: signal.Signals) -> None:
        for process in processes:
            if Path(f"/proc/{process}").exists():
                os.kill(process, number)

    send(signal.SIGSTOP)
    try:
        yield
    finally:
        send(signal.SIGCONT)


def test_a_worker_that_stops_is_not_ready_and_lives_while_its_jobs_end(start: Start, fl: Fairlane, fifo: Path):
    port = free_ports()
    worker = start("--metrics-port", port)
    until_it_is(port, 200)
    fl.submit("wait", organization="acme", parameters={"fifo": str(fifo)})
    worker.line("waiting")
    assert scrape(port)["fairlane_slots_taken"] == {(): 1}
    worker.send(signal.SIGTERM)
    until_it_is(port, 503, "it stops and claims no more")
    assert probe(port, "livez").status == 200
    fifo.write_text("done")
    assert worker.end() == 0
    assert probe(port, "readyz").status == 0


def test_a_worker_whose_slots_are_all_taken_is_ready(start: Start, fl: Fairlane, fifo: Path):
    """It could not claim: a scaler that took it away would take its jobs with it."""
    port = free_ports()
    worker = start("--metrics-port", port, "--concurrency", 1)
    until_it_is(port, 200)
    fl.submit("wait", organization="acme", parameters={"fifo": str(fifo)})
    worker.line("waiting")
    found = scrape(port)
    assert (found["fairlane_slots"], found["fairlane_slots_taken"]) == ({(): 1}, {(): 1})
    until_it_is(port, 200)
    fifo.write_text("done")


def test_a_blocked_event_loop_is_not_alive_until_it_turns_again(start: Start, fl: Fairlane, fifo: Path):
    port = free_ports()
    worker = start("--metrics-port", port)
    until_it_is(port, 200)
    fl.submit("block", organization="acme", parameters={"fifo": str(fifo)})
    worker.line("waiting")
    until(lambda: probe(port, "livez").status == 503)
    assert probe(port, "livez").sentence.startswith("The event loop has not answered for 1 s")
    until(lambda: scrape(port)["fairlane_loop_blocks_total"] == {(): 1})
    fifo.write_text("done")
    until(lambda: probe(port, "livez").status == 200)


def test_each_process_has_a_port_of_its_own_that_its_replacement_gets(start: Start, fl: Fairlane):
    first = free_ports(2)
    start("--metrics-port", first, "--processes", 2)
    for port in (first, first + 1):
        until_it_is(port, 200)
    born = scrape(first + 1)["process_start_time_seconds"][()]
    (mine,) = [one for one in fl.reads.workers() if born_at(one.name) == born]
    os.kill(int(mine.name.rpartition(":")[2]), signal.SIGKILL)
    until(
        lambda: probe(first + 1, "readyz").status == 200 and scrape(first + 1)["process_start_time_seconds"][()] > born
    )
    assert probe(first, "readyz").status == 200


def born_at(name: str) -> float:
    """Return when the worker of this name began, as its metrics say: from the system's boot and the process's ticks."""
    ticks = float(Path(f"/proc/{name.rpartition(':')[2]}/stat").read_text().rpartition(")")[2].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return ticks / os.sysconf("SC_CLK_TCK") + float(boot.split()[1])


def test_the_port_may_be_a_setting_and_without_one_nothing_is_served(start: Start):
    port = free_ports()
    worker = start(FAIRLANE_METRICS_PORT=str(port))
    assert worker.line(r"Metrics at http://(\S+)/metrics")[1] == f"{HOST}:{port}"
    silent = start("--name", "silent")
    silent.line("Worker silent serves")
    assert "Metrics" not in "".join(silent.seen)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_port_that_is_taken_is_said_once_before_anything_runs(start: Start, fl: Fairlane, processes: int):
    port = free_ports(2)
    start("--metrics-port", port + 1).line("Metrics at")
    second = start("--metrics-port", port + 2 - processes, "--processes", processes)
    second.line("Error: Can't serve metrics at 127.0.0.1, port")
    assert second.end() == 1
    said = " ".join("".join(second.seen).split())
    assert "name others by --metrics-host and --metrics-port." in said
    assert "serves" not in said


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--metrics-port", 65_535, "--processes", 2], {}, "2 processes need as many ports"),
        (["--metrics-port", 9464, "--metrics-host", "nowhere.invalid"], {}, "Can't serve metrics at nowhere.invalid"),
        (["--metrics-port", 0], {}, "Invalid value for '--metrics-port'"),
        (
            [],
            {"FAIRLANE_METRICS_PORT": "65536"},
            "(FAIRLANE_METRICS_PORT): input should be less than or equal to 65535",
        ),
        ([], {"FAIRLANE_METRICS_ORGANIZATIONS": "-1"}, "(FAIRLANE_METRICS_ORGANIZATIONS): input should be greater"),
    ],
    ids=["too few ports", "no such host", "no port", "a port that is none", "fewer than no organizations"],
)
def test_what_is_wrong_is_said(start: Start, arguments: list[object], environment: dict[str, str], sentence: str):
    worker = start(*arguments, **environment, COLUMNS="200")
    assert worker.end() in {1, 2}
    assert sentence in " ".join("".join(worker.seen).split())
