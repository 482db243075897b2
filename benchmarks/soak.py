"""`python -m benchmarks.soak`: speed and table sizes while millions of jobs come, run, end and are deleted.

One process submits in bulk and keeps a backlog, one worker runs no-op jobs of ten organizations and deletes what ended
a minute ago. When what comes and what goes are in balance, speed and sizes should be flat. `--snapshot 10` holds a
snapshot in another session for ten minutes, as a dump or a long report does: nothing that is dead can be cleared away.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, text

from benchmarks.databases import database_place, facts
from benchmarks.machine import machine
from benchmarks.site import fresh_site
from benchmarks.work import BATCH, NOOP, submissions
from fairlane import Fairlane, Submission
from fairlane.store.row_security import EVERYONE

_RESULTS: Final = Path(__file__).parent / "results"
_ORGANIZATIONS: Final = [f"soak-{number}" for number in range(10)]
_BACKLOG: Final = 20_000
_RETENTION: Final = 60  # seconds
_SAMPLE: Final = 60.0  # seconds
_BESIDE: Final = 2  # minutes without a snapshot, before it and after
_LOOK: Final = 1.0  # seconds between two fillings
_HOLD: Final = text("SELECT set_config('idle_in_transaction_session_timeout', '0', false)")
_ENDS: Final = text("""
SELECT count(*) AS ends, count(*) FILTER (WHERE id <= :settled) AS settled, coalesce(max(id), :settled) AS newest
FROM fairlane_execution_log WHERE id > :after AND to_status = 'completed'
""")
_SIZES: Final = text("""
SELECT relname, pg_relation_size(relid) AS rows, pg_indexes_size(relid) AS indexes, n_dead_tup, autovacuum_count
FROM pg_stat_user_tables WHERE relname IN (
  'fairlane_jobs', 'fairlane_live', 'fairlane_ended', 'fairlane_execution_log', 'fairlane_dedup_keys')
""")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--url", help="a PostgreSQL server; the default is one of its own")
    parser.add_argument("--snapshot", type=int, default=0, metavar="MINUTES", help="run until two minutes after it")
    parser.add_argument("--out", type=Path, help="the default is soak.json or soak-snapshot.json, in results")
    asked = parser.parse_args()
    out: Path = asked.out or _RESULTS / ("soak-snapshot.json" if asked.snapshot else "soak.json")
    # The worker's settings, which its process has from here.
    os.environ |= {"FAIRLANE_RETENTION": str(_RETENTION), "FAIRLANE_CLEANUP_INTERVAL": "0.5"}
    with database_place(asked.url, postgres=True) as place, fresh_site(place) as site:
        for name in _ORGANIZATIONS:
            site.fl.organizations.create(name)
        document: dict[str, Any] = {
            "measured_on": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "database": facts(site.fl.database),
            "retention": _RETENTION,
            "snapshot": asked.snapshot,
            "samples": [],
        }
        with site.worker() as worker, site.fl.database.engine.connect() as other:
            for minute, sample in enumerate(_samples(site.fl), start=1):
                worker.check()
                document["samples"].append(sample)
                print(json.dumps(sample), flush=True)
                out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
                if asked.snapshot and minute == _BESIDE:
                    other.execution_options(isolation_level="REPEATABLE READ")
                    other.execute(_HOLD)
                if asked.snapshot and minute == _BESIDE + asked.snapshot:
                    other.rollback()
                is_over = minute == 2 * _BESIDE + asked.snapshot if asked.snapshot else sample["total"] >= asked.jobs
                if is_over:
                    break


def _samples(fl: Fairlane) -> Iterator[dict[str, Any]]:
    """Yield a sample each minute."""
    endless, ends = submissions(NOOP, _ORGANIZATIONS), Ends()
    began = time.monotonic()
    submitted, before, at = 0, 0, began
    while True:
        now, ended = time.monotonic(), fl.database.read(ends.count, of=EVERYONE)
        if now - at >= _SAMPLE:
            yield {"minute": round((now - began) / 60, 1), "total": ended, "speed": (ended - before) / (now - at)} | (
                fl.database.read(_sizes, of=EVERYONE)
            )
            before, at = ended, now
        submitted += _fill(fl, endless, _BACKLOG - submitted + ended)


@dataclass
class Ends:
    """A counter of the jobs that the log says have ended since the last look.

    To count those that are live would take seconds while a snapshot is held, and be a part of what is measured.
    """

    _before: int = 0
    _after: int = 0
    _settled: int = 0

    def count(self, connection: Connection) -> int:
        """Return how many jobs have ended so far."""
        values = {"after": self._after, "settled": self._settled}
        row = connection.execute(_ENDS, values).one()
        ended: int = self._before + row.ends
        # Ids are drawn before they are committed: what is newest now is read once more by the next look.
        self._before += row.settled
        self._after, self._settled = self._settled, row.newest
        return ended


def _fill(fl: Fairlane, endless: Iterator[Submission], missing: int) -> int:
    """Fill the backlog up, and leave the machine to the worker for a while; how many it took."""
    for first in range(0, missing, BATCH):
        fl.submit_many(list(islice(endless, min(BATCH, missing - first))))
    time.sleep(_LOOK)
    return max(missing, 0)


def _sizes(connection: Connection) -> dict[str, Any]:
    return {
        row.relname.removeprefix("fairlane_"): {
            "rows": row.rows,
            "indexes": row.indexes,
            "dead": row.n_dead_tup,
            "vacuums": row.autovacuum_count,
        }
        for row in connection.execute(_SIZES)
    }


if __name__ == "__main__":
    main()
