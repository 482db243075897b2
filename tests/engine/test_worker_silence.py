"""A network that takes what is sent and lets no answer through: a worker gives up such connections."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import make_url

from fairlane import JobContext
from fairlane.domain.events import DeadLetterAlert, StorageBack, StorageLost, WorkerStarted
from tests.engine.worker_kit import Engine, engine, running, until
from tests.patience import PATIENCE
from tests.storm.proxy import Proxy, Silence

pytestmark = pytest.mark.slow

LEASE = 1.5  # seconds
LONGEST_SILENCE = 60.0  # seconds that claims wait for an answer


@pytest.fixture
def fl(postgres_url: str, proxy: Proxy) -> Iterator[Engine]:
    """The worker's words go through the proxy, those of the application do not."""
    there = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port, query={})
    with engine(postgres_url, worker_url=there.render_as_string(hide_password=False), lease=LEASE) as fl:

        @fl.job_type("work")
        async def work(ctx: JobContext) -> None: ...

        yield fl


def test_a_worker_whose_connections_are_silent_goes_on_with_new_ones_and_waits_for_one_of_them_only(
    fl: Engine, proxy: Proxy
) -> None:
    with running(fl.worker()):
        fl.ended(fl.give("work"))  # each connection has been used
        proxy.silence = Silence.ALL
        fl.events.wait(StorageLost, service="heartbeat")
        proxy.forget()
        proxy.silence = Silence.NONE  # for new connections
        fl.events.wait(StorageBack, service="heartbeat")
        job = fl.give("work")
        assert fl.wait(job.id, organization="acme", timeout=LONGEST_SILENCE + PATIENCE).status == "completed"


def test_who_tells_of_dead_letters_waits_for_no_silent_database(
    postgres_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is who writes the ends of attempts."""
    monkeypatch.setattr("fairlane.engine.alerts.SILENCE_OF_ALERTS", 0.1)
    there = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port, query={})
    with engine(there.render_as_string(hide_password=False)) as fl, ThreadPoolExecutor(1) as threads:
        fl.emit(DeadLetterAlert("acme", 50))  # a connection is made and kept
        proxy.silence = Silence.ALL
        threads.submit(fl.emit, DeadLetterAlert("acme", 51)).result(PATIENCE)
        proxy.silence = Silence.NONE


@pytest.mark.parametrize("lost", [Silence.ANSWERS, Silence.ALL])
def test_a_worker_whose_database_is_silent_says_so_within_a_lease_and_ends_when_it_is_asked_to(
    fl: Engine, proxy: Proxy, lost: Silence
) -> None:
    before = set(threading.enumerate())
    with running(fl.worker()):
        fl.events.wait(WorkerStarted)
        proxy.silence = lost
        fl.events.wait(StorageLost, service="heartbeat")
    # The interpreter waits for threads of pools before it ends.
    until(lambda: not set(threading.enumerate()) - before)
