"""A fault that was cut short comes once more, and those that would cut each other short come one after the other."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.storm import folder
from tests.storm.faults import Fault, Injection, Planned
from tests.storm.fleet import Fleet, Slot
from tests.storm.injections import Site, inject

STOP = Planned(0.0, Fault.STOP, 0, 0.0)


class Sleepers(Fleet):
    """A fleet of processes that do nothing, in place of workers."""

    def _start(self, slot: Slot) -> "subprocess.Popen[bytes]":
        folder.up_file(self.directory, slot.worker).touch()
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


class Graceful(Sleepers):
    """Processes that end at a second SIGTERM, or half a second after the first, and write down how many came."""

    def _start(self, slot: Slot) -> "subprocess.Popen[bytes]":
        up = folder.up_file(self.directory, slot.worker)
        return subprocess.Popen([sys.executable, "-c", _GRACEFUL, str(up)])


_GRACEFUL: Final = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pathlib.Path(sys.argv[1]).touch()
signal.sigwait([signal.SIGTERM])
again = signal.sigtimedwait([signal.SIGTERM], 0.5)
pathlib.Path(sys.argv[1]).write_text("twice" if again else "once")
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    fleet = Sleepers(tmp_path, [Slot(0, "", tmp_path / "clock")], {}, 1)
    with fleet.running():
        yield Site(fleet, "", tmp_path, lease=0.1)


def kill(site: Site) -> Injection:
    (one,) = inject(site, Planned(0.0, Fault.KILL, 0, 0.0))
    return one


def test_each_kill_has_a_worker_of_its_own(site: Site) -> None:
    kills = [kill(site) for _ in range(3)]
    assert [one.worker for one in kills] == ["worker0-1", "worker0-2", "worker0-3"]
    assert not any(one.is_cut for one in kills)


@pytest.mark.parametrize(("draw", "signals"), [(0.4, "twice"), (0.6, "once")])
def test_half_of_those_that_are_told_to_end_are_told_twice(tmp_path: Path, draw: float, signals: str) -> None:
    fleet = Graceful(tmp_path, [Slot(0, "", tmp_path / "clock")], {}, 1)
    with fleet.running():
        site = Site(fleet, "", tmp_path, lease=0.1)
        (one,) = inject(site, Planned(0.0, Fault.TERM, 0, draw))
        assert folder.up_file(tmp_path, one.worker).read_text() == signals


def test_a_stop_amid_which_the_worker_was_killed_comes_once_more(site: Site) -> None:
    site.lease = 1.0
    waited, killed = site.is_over.wait, list[str]()

    def wait(timeout: float | None = None) -> bool:
        if killed:
            return waited(0.01)
        worker, process = site.fleet.up(0)
        killed.append(worker)
        process.kill()
        process.wait()
        return False

    site.is_over.wait = wait  # type: ignore[method-assign]  # a kill has to come just then
    cut, whole = inject(site, STOP)
    assert (cut.worker, cut.is_cut) == (killed[0], True)
    assert (whole.worker, whole.is_cut) == ("worker0-2", False)


def test_what_is_cut_short_is_not_tried_for_ever_when_the_storm_is_over(site: Site) -> None:
    worker, process = site.fleet.up(0)
    site.is_over.set()
    process.kill()
    process.wait()
    injected = inject(site, STOP)
    assert len(injected) == 1
    assert injected[0].worker != worker
