"""`python -m benchmarks.peers run`: every peer in turn, as often as asked for; medians into one JSON file."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.peers.known import PEERS, Known, Store
from benchmarks.peers.places import NotHere, interpreter, redis_server, server_for, store
from benchmarks.peers.shape import URL
from fairlane import Fairlane
from fairlane.cli.bench.machine import machine
from fairlane.store.scratch import facts

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
    run.add_argument("--skip-killed", action="store_true", help="leave out what takes up to two minutes for each")
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
        for name in names:
            document["peers"].append(_measured(name, server, asked))
            # After each, for all of them take an hour.
            asked.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {asked.out}.")


def _stores(server: str | None, wanted: set[Store]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if server is not None:
        with Fairlane(server) as fl:
            found["postgresql"] = facts(fl.database)
    if "redis" in wanted and (program := redis_server()) is not None:
        told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split()
        found["redis"] = {"server": " ".join(told[:3]), "persistence": "none"}
    return found


def _measured(name: str, server: str | None, asked: argparse.Namespace) -> dict[str, Any]:
    """What is measured of one peer; what went wrong stands in its place."""
    known = PEERS[name]
    result: dict[str, Any] = {"name": name, "store": known.store}
    try:
        script = _Script(interpreter(name, known), known, server)
        result |= script.call("about")
        drains = [script.call("drain", asked.jobs) for _ in range(asked.runs)]
        for figure in ("bulk", "drain"):
            result[figure] = _median([run[figure] for run in drains])
        result["neighbour"] = _median([script.call("neighbour", asked.jobs)["neighbour"] for _ in range(asked.runs)])
        if not asked.skip_killed:
            result["again"] = script.call("killed")["again"]
    except NotHere as error:
        result["not_run"] = str(error)
    except Failed as error:
        result["failed"] = str(error)
    print(json.dumps(result))
    return result


def _median(runs: list[float]) -> dict[str, Any]:
    return {"value": median(runs), "runs": runs}


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
