"""Measure the memory of a worker during a storm."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

EVERY: Final = 10.0  # seconds
WARM: Final = 600.0  # seconds until what a worker keeps for later is there
STRETCH: Final = 300.0  # seconds of which the median is taken, as memory goes up and down
HALF_HOUR: Final = 1_800.0  # seconds
_KIB: Final = 1024


class Memory(NamedTuple):
    """MiB of a process in RAM, and of these what no file is behind: the other pages the system can take back."""

    resident: float
    anonymous: float


class StormFailed(AssertionError):
    """The storm itself did not work, so it proves nothing."""


@contextmanager
def watched(process: Callable[[], int | None], every: float = EVERY) -> Iterator[list[Memory]]:
    """Look at the memory that a process has in RAM while the block runs, without its children's.

    Args:
        process: gives its id; None: it is not there yet.
        every: seconds from one look to the next.

    Yields:
        One for each look; empty where there is no /proc.

    Raises:
        StormFailed: another process took its place, so the looks are of two.
    """
    samples: list[Memory] = []
    seen: set[int] = set()
    is_over = threading.Event()

    def watch() -> None:
        due = time.monotonic()
        while not is_over.wait(max(0.0, due - time.monotonic())):
            due += every
            pid = process()
            taken = memory(pid) if pid is not None else None
            if pid is not None and taken is not None:
                seen.add(pid)
                samples.append(taken)

    watcher = threading.Thread(target=watch, name="storm-memory")
    watcher.start()
    try:
        yield samples
    finally:
        is_over.set()
        watcher.join()
    if len(seen) > 1:
        raise StormFailed("the spared worker was replaced, so nothing can be said of its memory; see its logs")


def memory(pid: int) -> Memory | None:
    """Return the memory of a process; None if the process is gone, or if there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines())
    kib = [int(lines[name].split()[0]) for name in ("VmRSS", "RssAnon") if name in lines]
    return Memory(*(one / _KIB for one in kib)) if len(kib) == len(Memory._fields) else None


def growths(looks: Sequence[Memory]) -> tuple[float, float] | None:
    """The most by which each of the two grew in half an hour, as `growth` says."""
    resident, anonymous = (growth([one[place] for one in looks], EVERY) for place in range(2))
    return (resident, anonymous) if resident is not None and anonymous is not None else None


def growth(mib: Sequence[float], every: float) -> float | None:
    """The most by which memory grew in half an hour once it was warm, as a share; None: that is longer than it was
    looked at.

    Args:
        mib: one for each look.
        every: seconds from one look to the next.
    """
    stretch, warm, half_hour = (round(seconds / every) for seconds in (STRETCH, WARM, HALF_HOUR))
    each = [median(mib[first : first + stretch]) for first in range(warm, len(mib) - stretch + 1)]
    return max((later / one - 1 for one, later in zip(each, each[half_hour:], strict=False)), default=None)
