"""How much memory a worker takes while a storm goes by."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

EVERY: Final = 10.0  # seconds
_KIB: Final = 1024


class StormFailed(AssertionError):
    """The storm itself did not work, so it proves nothing."""


@contextmanager
def watched(process: Callable[[], int | None], every: float = EVERY) -> Iterator[list[float]]:
    """While the block runs, look at the memory that a process has in RAM; without what its children have.

    Args:
        process: gives its id; None: it is not there yet.
        every: seconds from one look to the next.

    Yields:
        MiB, one for each look; empty where there is no /proc.

    Raises:
        StormFailed: another process took its place, so the looks are of two.
    """
    samples: list[float] = []
    seen: set[int] = set()
    is_over = threading.Event()

    def watch() -> None:
        due = time.monotonic()
        while not is_over.wait(max(0.0, due - time.monotonic())):
            due += every
            pid = process()
            taken = resident(pid) if pid is not None else None
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


def resident(pid: int) -> float | None:
    """MiB in RAM; None for a process that is gone, or where there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(found[0].split()[1]) / _KIB if found else None
