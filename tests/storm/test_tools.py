"""The tools of the storm do what they say."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.engine.worker_kit import until
from tests.patience import PATIENCE
from tests.storm import clock, folder, ledger, memory, storm
from tests.storm.ledger import Entry, Kind
from tests.storm.memory import StormFailed
from tests.storm.proxy import Proxy, Silence

CLOCKS = """
import sys, time
from datetime import UTC, datetime
from tests.storm import clock
clock.require()
for _ in sys.stdin:
    print(int(time.time()), int(datetime.now(UTC).timestamp()), int(time.monotonic()), flush=True)
"""


def test_a_clock_lies_from_one_moment_to_the_next_and_to_its_process_alone(tmp_path: Path) -> None:
    if not clock.can_lie():
        pytest.skip("no clock can be made to lie here")
    file, library = tmp_path / "clock", clock.build(tmp_path)
    clock.shift(file, 0)
    with subprocess.Popen(
        [sys.executable, "-c", CLOCKS],
        env={**os.environ, **clock.variables(library, file)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = []
        for shift in (0, 3600, -3600):
            clock.shift(file, shift)
            process.stdin.write("\n")
            process.stdin.flush()
            told.append([int(part) for part in process.stdout.readline().split()])
        process.stdin.close()
    right, ahead, behind = told
    for place in (0, 1):  # the time of day, however it is asked for
        assert round((ahead[place] - right[place]) / 3600, 1) == 1.0
        assert round((behind[place] - right[place]) / 3600, 1) == -1.0
    assert right[2] <= ahead[2] <= behind[2] < right[2] + PATIENCE


def test_a_process_that_goes_by_its_machines_clock_is_not_taken_for_one_whose_clock_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not clock.can_lie():
        pytest.skip("no clock can be made to lie here")
    clock.require()
    for name, value in clock.variables(tmp_path / "lying_clock.so", tmp_path / "clock").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StormFailed, match="see LD_PRELOAD"):
        clock.require()


def test_a_line_that_a_kill_cut_off_is_not_read(tmp_path: Path) -> None:
    folder.prepare(tmp_path)
    line = '{"kind": "begin", "job_type": "t", "job": "j", "attempt": 1, "lease": "l", "worker": "w", "at": 1.5}'
    (folder.ledgers(tmp_path) / "w-1.jsonl").write_text(f"{line}\n{line[:30]}")
    assert list(ledger.read(tmp_path)) == [Entry(Kind.BEGIN, "t", "j", 1, "l", "w", 1.5)]


def test_a_traceback_in_a_workers_log_is_found(tmp_path: Path) -> None:
    folder.prepare(tmp_path)
    quoted = "ERROR a dead letter\n  > Traceback (most recent call last):\n  >   File …\n"
    folder.log_file(tmp_path, "worker1-1").write_text(f"WARNING claim: trying again\n{quoted}")
    assert list(folder.tracebacks(tmp_path)) == []
    folder.log_file(tmp_path, "worker1-2").write_text("WARNING\nTraceback (most recent call last):\n  File …\n")
    assert list(folder.tracebacks(tmp_path)) == ["worker1-2 has a traceback in its log"]


class TestProxy:
    """Between a client and PostgreSQL."""

    @pytest.fixture
    def direct(self, postgres_url: str):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE told (word text)")
            yield connection

    @pytest.fixture
    def through(self, postgres_url: str, proxy: Proxy):
        url = make_url(postgres_url)
        there = f"host=127.0.0.1 port={proxy.port} user={url.username} dbname={url.database}"
        with psycopg.connect(there, autocommit=True) as connection:
            yield connection

    def test_what_is_said_arrives(self, through: psycopg.Connection, proxy: Proxy) -> None:
        proxy.delay = 0.001
        assert through.execute("SELECT 'x' || repeat('y', 100000)").fetchone() == ("x" + "y" * 100_000,)

    def test_a_lost_answer_leaves_the_work_done_and_the_client_without_a_word(
        self, direct: psycopg.Connection, through: psycopg.Connection, proxy: Proxy
    ) -> None:
        errors: list[Exception] = []

        def tell() -> None:
            try:
                through.execute("INSERT INTO told VALUES ('hello')")
            except psycopg.OperationalError as error:
                errors.append(error)

        proxy.silence = Silence.ANSWERS
        client = threading.Thread(target=tell)
        client.start()
        until(lambda: direct.execute("SELECT count(*) FROM told").fetchone() == (1,))
        assert client.is_alive()
        proxy.cut()
        client.join(PATIENCE)
        assert len(errors) == 1

    def test_what_was_held_arrives_later_in_its_order(self, through: psycopg.Connection, proxy: Proxy) -> None:
        answers: list[object] = []

        def ask() -> None:
            answers.extend(through.execute("SELECT %s::int", (number,)).fetchone() for number in range(3))

        proxy.hold()
        client = threading.Thread(target=ask)
        client.start()
        client.join(0.1)
        assert answers == []
        proxy.go_on()
        client.join(PATIENCE)
        assert answers == [(0,), (1,), (2,)]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to look at")
def test_the_memory_of_a_process_is_looked_at_until_it_is_over() -> None:
    with memory.watched(os.getpid, every=0.01) as samples:
        until(lambda: len(samples) >= 3)
    looks = len(samples)
    assert all(1 < one.anonymous < one.resident < 100_000 for one in samples)
    assert len(samples) == looks
    assert memory.memory(2**30) is None


def test_between_two_looks_at_what_is_left_a_third_has_its_time() -> None:
    """A look may fail; with a pause as long as jobs are waited for, those that were left were called lost."""
    assert all(storm.rest(took) <= storm._SETTLING / 3 for took in (0.0, 0.3, 1.2, 60.0))
