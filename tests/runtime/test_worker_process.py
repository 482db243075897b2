"""What a worker does to the process that it runs in, and takes back."""

import gc
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from tests.runtime.worker_kit import engine
from tests.runtime.worker_store import nothing

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def hosts_own(_number: int, _frame: FrameType | None) -> None:
    """An application's handler."""


@pytest.fixture
def handlers() -> Iterator[None]:
    before = [signal.signal(number, hosts_own) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_signals_do_afterwards_what_they_did_before() -> None:
    with engine("sqlite://") as fl:
        nothing(fl)
        worker = fl.worker()
        worker.stop()
        worker.run()
    assert [signal.getsignal(number) for number in SIGNALS] == [hosts_own, hosts_own]


@pytest.mark.usefixtures("handlers")
def test_the_garbage_collector_is_as_it_was() -> None:
    before = gc.get_freeze_count(), gc.get_threshold()
    with engine("sqlite://") as fl:
        nothing(fl)
        worker = fl.worker()
        worker.stop()
        worker.run()
    assert (gc.get_freeze_count(), gc.get_threshold()) == before
