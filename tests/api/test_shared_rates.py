"""Rates that several nodes count together, in a real Redis or Valkey: `valkey-server` or `redis-server` on the PATH."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from fairlane import WebSettings
from fairlane.api import create_app, rates
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate, Rates
from tests.api.served import Api, Server
from tests.patience import PATIENCE

PROGRAM: Final = shutil.which("valkey-server") or shutil.which("redis-server")
LIMIT: Final = 25


class Counter:
    """A server that keeps nothing on disk, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder
        self.start()

    def start(self) -> None:
        assert PROGRAM is not None
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
        }
        command = [PROGRAM, *(part for name, value in options.items() for part in (f"--{name}", value))]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "it never came up"
                time.sleep(0.01)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(PATIENCE)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    """A server; without a program for it these tests are skipped, or fail where they have to run."""
    if PROGRAM is None:
        why = "There is neither valkey-server nor redis-server; on Debian `apt-get install valkey-server` brings one."
        if os.environ.get("FAIRLANE_TEST_VALKEY") == "required":
            pytest.fail(why)
        pytest.skip(why)
    counter = Counter(tmp_path)
    yield counter
    counter.stop()


def node(counter: Counter, scheme: str = "redis", limit: int = LIMIT) -> Rates:
    return Rates(WebSettings(rate_list=limit, rates_url=counter.url.replace("redis", scheme, 1)))


def passes(node: Rates, who: str = "ana") -> bool:
    try:
        node.count(Rate.LIST, who)
    except Problem as refused:
        return refused.status != 429
    return True


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_nodes_count_concurrent_requests_together_and_exactly(counter: Counter, scheme: str):
    nodes = [node(counter, scheme) for _ in range(3)]
    with ThreadPoolExecutor(12) as threads:
        passed = list(threads.map(lambda number: passes(nodes[number % 3]), range(4 * LIMIT)))
    assert sum(passed) == LIMIT
    assert passes(nodes[0], "bea")


def test_served_by_two_nodes_a_user_has_one_allowance(counter: Counter, serve):
    api: Api = serve({"rate_list": 4, "rates_url": counter.url})
    second = Server(create_app(api.fl, api.settings))
    try:
        first, other = api.as_("member"), api.as_("member")
        other.base_url = f"{second.url}/api/v1"
        answers = [client.get("/organizations/acme/jobs").status_code for _ in range(3) for client in (first, other)]
        assert answers == [200, 200, 200, 200, 429, 429]
        assert api.as_("colleague").get("/organizations/acme/jobs").status_code == 200
    finally:
        second.stop()


def test_while_it_is_gone_each_counts_by_itself_and_together_again_when_it_is_back(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rates, "_RETRY_AFTER", 0.0)
    one, two = node(counter, limit=1), node(counter, limit=1)
    assert [passes(one), passes(two)] == [True, False]
    counter.stop()
    assert [passes(one), passes(one), passes(two), passes(two)] == [True, False, True, False]
    counter.start()
    assert [passes(two), passes(one)] == [True, False]


def test_one_that_has_come_to_a_standstill_holds_nobody_up_for_long(counter: Counter):
    one = node(counter)
    assert passes(one)
    counter.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert all(passes(one) for _ in range(LIMIT))
    # One request waited for it, and the others asked it no more.
    assert time.monotonic() - began < PATIENCE / 2
    assert not passes(one)
