"""A worker's changes of its process, and their reversal."""

import asyncio
import gc
import signal
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from fairlane import JobContext
from fairlane.engine import own_loop
from tests.engine.worker_kit import engine
from tests.engine.worker_store import nothing

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
def test_there_is_no_moment_at_which_a_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    change = signal.signal

    def watched(number: int, handler: Callable[[int, FrameType | None], object]) -> object:
        seen.append(handler)
        return change(number, handler)

    monkeypatch.setattr(signal, "signal", watched)
    monkeypatch.setattr(own_loop, "_new_loop", asyncio.new_event_loop)  # whose own means are seen from here
    with engine("sqlite://") as fl:
        nothing(fl)
        worker = fl.worker()
        worker.stop()
        worker.run()
    assert len(seen) == 2 * len(SIGNALS)
    assert signal.SIG_DFL not in seen


@pytest.mark.slow
@pytest.mark.usefixtures("handlers", "own_heap")
@pytest.mark.parametrize("verb", ["run", "drain"])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_garbage_collector_is_as_it_was(*, is_frozen: bool, verb: str) -> None:
    if is_frozen:
        gc.freeze()
    before, meanwhile = gc.get_threshold(), list[int]()
    with engine("sqlite://") as fl:

        @fl.job_type("look")
        def look(ctx: JobContext) -> None:
            meanwhile.extend((gc.get_freeze_count(), gc.get_threshold()[0]))
            worker.stop()

        fl.give("look")
        worker = fl.worker()
        getattr(worker, verb)()
    # How much is frozen is no constant: also what is frozen ends when nobody needs it any more.
    assert meanwhile[0] > 0
    assert (meanwhile[1] > before[0]) == (not is_frozen)
    assert (gc.get_freeze_count() > 0, gc.get_threshold()) == (is_frozen, before)
