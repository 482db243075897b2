"""`python -m benchmarks.peers run`: every peer in turn, as often as asked for; medians into one JSON file."""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.databases import facts
from benchmarks.machine import machine
from benchmarks.peers.known import MEASURES, PEERS, Known, Store
from benchmarks.peers.places import NotHere, interpreter, redis_server, server_for, store
from benchmarks.peers.shape import URL
from benchmarks.site import fresh_site

_ROOT: Final = Path(__file__).parents[2]
_LONGEST: Final = 3600.0  # seconds for one run of a script
_SHOWN: Final = 400  # characters of an error


class Failed(Exception):
    """A script ended with an error."""


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    run = parser.add_subparsers(required=True).add_parser("run", help="measure")
    run.add_argument("--peers", default=",".join(PEERS), help="which, with commas (default: all)")
    run.add_argument("--jobs", type=int, default=10_000)
    run.add_argument("--runs", type=int, default=3)
    run.add_argument("--only", action="append", choices=MEASURES, help="measure; repeat it (default: all)")
    run.add_argument("--out", type=Path, default=_ROOT / "benchmarks" / "results" / "peers.json")
    asked = parser.parse_args()
    names: list[str] = asked.peers.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"There is no {unknown[0]!r}; choose from {', '.join(PEERS)}.")
    wanted = [PEERS[name] for name in names]
    with server_for(wanted) as server:
        document: dict[str, Any] = {
            "measured_on": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "stores": _stores(server, {one.store for one in wanted}),
            "jobs": asked.jobs,
            "runs": asked.runs,
            "peers": [],
        }
        results = [_Result(name, server) for name in names]
        measures = [one for one in MEASURES if one in (asked.only or MEASURES)]
        if "killed" not in measures and asked.out.exists():
            before = {one["name"]: one for one in json.loads(asked.out.read_text(encoding="utf-8"))["peers"]}
            for result in results:
                result.keep(before)
        each = [partial(_Result.run, measure=one, jobs=asked.jobs) for one in measures if one != "killed"]
        for step in each * asked.runs + [_Result.kill] * ("killed" in measures):
            # By turns, so that what the machine does besides hits all alike.
            for result in results:
                result.do(step)
                document["peers"] = [one.document() for one in results]
                # After each, for all of them take an hour.
                asked.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {asked.out}.")


def _stores(server: str | None, wanted: set[Store]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if server is not None:
        with fresh_site(server) as site:
            found["postgresql"] = facts(site.fl.database)
    if "redis" in wanted and (program := redis_server()) is not None:
        told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split()
        found["redis"] = {"server": " ".join(told[:3]), "persistence": "none"}
    return found


class _Result:
    """The figures of one peer, run by run; after an error, its text instead."""

    def __init__(self, name: str, server: str | None) -> None:
        known = PEERS[name]
        self._about: dict[str, Any] = {"name": name, "store": known.store}
        self._figures: dict[str, list[float]] = defaultdict(list)
        self._script: _Script | None = None
        try:
            self._script = _Script(interpreter(name, known), known, server)
            self._about |= self._script.call("about")
        except NotHere as error:
            self._stop("not_run", error)
        except Failed as error:
            self._stop("failed", error)

    def do(self, step: "Callable[[_Result], None]") -> None:
        """Take a step, if none has failed before."""
        if self._script is None:
            return
        try:
            step(self)
        except NotHere as error:
            self._stop("not_run", error)
        except Failed as error:
            self._stop("failed", error)
        print(json.dumps(self.document()), flush=True)

    def run(self, measure: str, jobs: int) -> None:
        """Measure the figures of a measure once."""
        assert self._script is not None
        for figure, value in self._script.call(measure, min(jobs, MEASURES[measure])).items():
            self._figures[figure].append(value)

    def kill(self) -> None:
        """See what becomes of a job whose worker is killed."""
        assert self._script is not None
        self._about["again"] = self._script.call("killed")["again"]

    def keep(self, before: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what an earlier run found of a killed worker, if it had the same version."""
        mine = before.get(self._about["name"], {})
        if "again" in mine and mine.get("version") == self._about.get("version"):
            self._about["again"] = mine["again"]

    def document(self) -> dict[str, Any]:
        """Return the figures and their medians, for JSON."""
        return self._about | {name: {"value": median(runs), "runs": runs} for name, runs in self._figures.items()}

    def _stop(self, what: str, error: Exception) -> None:
        self._about[what] = str(error)
        self._script = None


class _Script:
    """A peer's script, each call of it on a fresh store."""

    def __init__(self, python: str, known: Known, server: str | None) -> None:
        self._python = python
        self._known = known
        self._server = server

    def call(self, *arguments: object) -> dict[str, Any]:
        """The line that it prints."""
        command = [self._python, "-m", f"benchmarks.peers.scripts.{self._known.script}", *map(str, arguments)]
        with store(self._known, self._server) as url:
            environment: Mapping[str, str] = os.environ | self._known.environment | {URL: url}
            ended = subprocess.run(
                command, check=False, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=_LONGEST
            )
        if ended.returncode != 0:
            print(ended.stderr, file=sys.stderr)
            raise Failed(f"{' '.join(map(str, arguments))}: {ended.stderr.strip()[-_SHOWN:]}")
        line: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return line


if __name__ == "__main__":
    main()
