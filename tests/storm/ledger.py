"""The ledger of the storm's handlers, kept outside of the engine: one append-only file per process, JSON lines.

A line is written by one system call before the handler goes on, so a killed process leaves whole lines of all that it
did. Moments are `time.monotonic()`, which all processes of a machine share and no set clock moves.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from fairlane import JobContext
from tests.storm import folder


class Kind(StrEnum):
    """The kind of an entry."""

    BEGIN = "begin"  # the handler was called
    KEEP = "keep"  # a checkpoint was kept
    FAIL = "fail"  # the handler raises next, as planned, and is to be called again after a while
    EFFECT = "effect"  # what the job is for was done; the handler returns next
    GIVE_UP = "give up"  # the handler raises next, for good or as it was asked to stop


@dataclass(frozen=True, slots=True)
class Entry:
    """A line. `at`: seconds, monotonic; `found`: at a begin, of which attempt the checkpoint is, or 0.

    `is_own`: the handler was given what was submitted as this job of this organization.
    """

    kind: Kind
    job_type: str
    job: str
    attempt: int
    lease: str
    worker: str
    at: float
    found: int = 0
    organization: str = ""
    is_own: bool = True


def write(ctx: JobContext, kind: Kind, found: int = 0, *, is_own: bool = True) -> None:
    """Append an entry of this attempt."""
    entry = Entry(
        kind,
        ctx.job_type,
        str(ctx.job_id),
        ctx.attempt,
        str(ctx.lease_token),
        folder.mine()[1],
        time.monotonic(),
        found,
        ctx.organization,
        is_own,
    )
    os.write(_file(os.getpid()), json.dumps(asdict(entry)).encode() + b"\n")


@cache
def _file(pid: int) -> int:
    directory, worker = folder.mine()
    path = folder.ledgers(directory) / f"{worker}-{pid}.jsonl"
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def is_busy(directory: Path, worker: str) -> bool:
    """Return True if a handler of this worker has begun and not ended."""
    kinds = Counter(entry.kind for entry in read(directory, worker))
    return kinds[Kind.BEGIN] > kinds[Kind.FAIL] + kinds[Kind.EFFECT] + kinds[Kind.GIVE_UP]


def read(directory: Path, worker: str = "*") -> Iterator[Entry]:
    """Yield all entries of all processes, or of those of this worker, by process."""
    for path in sorted(folder.ledgers(directory).glob(f"{worker}-*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            # One without an end was cut off by a kill: what it was to tell was not told in time.
            for line in lines:
                if line.endswith("\n"):
                    told = json.loads(line)
                    yield Entry(**{**told, "kind": Kind(told["kind"])})
