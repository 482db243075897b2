"""The sizes of storms."""

from dataclasses import replace
from typing import Final

from tests.storm.faults import Fault
from tests.storm.storm import Profile

POSTGRESQL: Final = "postgresql"
SQLITE: Final = "sqlite"
DATABASES: Final = (POSTGRESQL, SQLITE)
_MILLION: Final = 1_000_000

_FULL: Final = {
    POSTGRESQL: Profile(
        jobs=50_000,
        seconds=180.0,
        # So many at once are claimed and ended together: 11,800 took 118 s of CPU, with 16 at once 159.
        concurrency=48,
        outage=60.0,
        faults={
            Fault.KILL: 30,
            Fault.STOP: 6,
            Fault.TERM: 6,
            Fault.CLOCK: 6,
            Fault.BACKEND: 50,
            Fault.RESTART: 5,
            Fault.HALF_OPEN: 5,
            Fault.LATENCY: 5,
            Fault.SILENCE: 3,
        },
    ),
    SQLITE: Profile(
        jobs=20_000,
        seconds=180.0,
        faults={Fault.KILL: 30, Fault.STOP: 6, Fault.TERM: 6, Fault.LOCK: 10, Fault.LONG_LOCK: 3, Fault.FULL: 10},
    ),
}
# A few of each, in half a minute, for `make test`.
SHORT: Final = {
    POSTGRESQL: Profile(
        jobs=1_500,
        seconds=15.0,
        workers=3,
        lease=4.0,
        faults={
            Fault.KILL: 3,
            Fault.STOP: 1,
            Fault.TERM: 1,
            Fault.CLOCK: 1,
            Fault.BACKEND: 5,
            Fault.RESTART: 1,
            Fault.HALF_OPEN: 1,
            Fault.LATENCY: 1,
            Fault.SILENCE: 1,
        },
    ),
    SQLITE: Profile(
        jobs=1_000,
        seconds=15.0,
        workers=3,
        lease=4.0,
        faults={Fault.KILL: 3, Fault.STOP: 1, Fault.TERM: 1, Fault.LOCK: 1, Fault.LONG_LOCK: 1, Fault.FULL: 1},
    ),
}


def full(database: str, jobs: int | None = None) -> Profile:
    """The storm of `make storm`; with more or fewer jobs it is longer or shorter, with as many more or fewer faults."""
    profile = _FULL[database]
    share = jobs / profile.jobs if jobs is not None else 1.0
    faults = {fault: max(1, round(count * share)) for fault, count in profile.faults.items()}
    return replace(profile, jobs=jobs or profile.jobs, seconds=profile.seconds * share, faults=faults)


def long(database: str) -> Profile:
    """The storm of `make storm LONG=1`: a million jobs, and one worker more, which lives long enough to be watched."""
    return replace(full(database, _MILLION), spared=1)
