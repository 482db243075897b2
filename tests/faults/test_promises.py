"""No job is lost, and none takes effect twice, whatever connection is lost at whatever statement."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.engine.worker_kit import another, engine
from tests.faults.fault import Fault
from tests.faults.injection import Faults
from tests.faults.play import play

RATE, SEED = 0.02, 1
JOBS = 72
LEASE = 10.0  # seconds; the heartbeat may fail a few times
OPTIONS: Final[Mapping[str, Any]] = {
    "lease": LEASE,
    "poll_interval": 0.05,
    "cleanup_interval": 0.2,
    "watch_interval": 0.05,
}


def lived_through(url: str, folder: Path, faults: Faults) -> list[Fault]:
    """Two workers run the load to its end, with these faults; the books are checked."""
    options = {**OPTIONS, "artifacts_url": folder.as_uri()}
    with engine(url, **options) as fl, another(fl, **options) as other:
        play(faults, JOBS, fl, other)
    return faults.injected


def test_no_job_is_lost_and_none_takes_effect_twice(database_url: str, tmp_path: Path) -> None:
    injected = lived_through(database_url, tmp_path, Faults(RATE, SEED, "promises"))
    assert {one.has_effect for one in injected} == {False, True}
    assert any(one.is_commit and one.has_effect for one in injected)
    assert {"Claims.claim_in_thread", "Results._finish"} <= {one.place for one in injected}
