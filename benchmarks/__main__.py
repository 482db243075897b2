"""Measures Fairlane on this machine: submissions, drains, pick-up and a noisy neighbour. `measures.py` defines each.

The database that --url names is left alone: each run makes one of its own beside it, on the same server or in the same
folder, and deletes it. Without --url it is SQLite in a temporary folder. It takes some minutes.
"""

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final, NoReturn

from benchmarks.databases import database_place, facts
from benchmarks.machine import described, machine
from benchmarks.measures import MEASURES, Measure, Size
from benchmarks.site import fresh_site
from fairlane import FairlaneError
from fairlane.cli import INTERRUPTED
from fairlane.cli.output import cell, complain, console, number_of, remark, table
from fairlane.cli.session import leave_out_logins

_JOBS, _QUICK_JOBS = 20_000, 1000
_SAMPLES, _QUICK_SAMPLES = 200, 10
_RUNS: Final = 3
_TERMINATED: Final = 143  # what shells report for a process that SIGTERM ended


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--url", help="a database of the server or the folder to measure")
    place.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own, not SQLite")
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works; figures are noisy")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help=f"of a run (default: {_JOBS}; {_QUICK_JOBS} with --quick)"
    )
    parser.add_argument("--only", action="append", choices=MEASURES, help="measure this alone; may be repeated")
    parser.add_argument("--runs", type=int, metavar="N", help=f"medians of how many (default: {_RUNS}; 1 with --quick)")
    parser.add_argument("--deep", type=int, default=0, metavar="N", help="drain among so many that wait, too")
    parser.add_argument("--json", metavar="FILE", help="write one JSON document there; - is standard output")
    asked = parser.parse_args()
    names = list(dict.fromkeys(asked.only or (name for name in MEASURES if asked.deep or not MEASURES[name].is_deep)))
    if not asked.deep and (missing := [name for name in names if MEASURES[name].is_deep]):
        parser.error(f"{missing[0]} needs --deep N, the number of jobs that wait beside it.")
    leave_out_logins()
    # So that databases, processes and a server are put away then, too.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        _run(asked, names)
    except FairlaneError as error:
        complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run(asked: argparse.Namespace, names: list[str]) -> None:
    size = Size(
        asked.jobs or (_QUICK_JOBS if asked.quick else _JOBS), _QUICK_SAMPLES if asked.quick else _SAMPLES, asked.deep
    )
    with database_place(asked.url, postgres=asked.postgres) as place:
        document = _measured(place, names, size, asked.runs or (1 if asked.quick else _RUNS))
    text = json.dumps(document, indent=2)
    if asked.json == "-":
        print(text)
    else:
        _print(document)
    if asked.json not in {None, "-"}:
        Path(asked.json).write_text(f"{text}\n", encoding="utf-8")
    if asked.quick:
        remark(
            f"--quick shows that it works: of {number_of(size.jobs, 'job')} a run, figures differ much from one run to "
            f"the next. For figures to compare leave --quick out: medians of {_RUNS} runs of {_JOBS:,} jobs."
        )


def _measured(place: str, names: list[str], size: Size, runs: int) -> dict[str, Any]:
    """Return the document: where it was measured, and all figures with the runs that they are medians of."""
    with fresh_site(place) as site:
        database = facts(site.fl.database)
    found: list[dict[str, Any]] = []
    for name in names:
        remark(f"Measuring {name} …")  # all of it takes minutes
        found += _figures(MEASURES[name], size, [_one_run(place, MEASURES[name], size) for _ in range(runs)])
    return {
        "machine": machine(),
        "database": database,
        "jobs": size.jobs,
        "samples": size.samples,
        "deep": size.deep,
        "figures": found,
    }


def _one_run(place: str, measure: Measure, size: Size) -> Mapping[str, float]:
    with fresh_site(place) as site:
        return measure.run(site, size)


def _figures(measure: Measure, size: Size, runs: list[Mapping[str, float]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "what": figure.what.format(deep=size.deep, slow=size.slow),
            "unit": figure.unit,
            "value": median(run[name] for run in runs),
            "runs": [run[name] for run in runs],
        }
        for name, figure in measure.figures.items()
    ]


def _print(document: Mapping[str, Any]) -> None:
    out = console()
    rows = table("FIGURE", "WHAT", "VALUE", "UNIT")
    rows.columns[2].justify = "right"
    for one in document["figures"]:
        value = f"{one['value']:,.0f}" if one["unit"] == "jobs/s" else f"{one['value']:,.1f}"
        rows.add_row(cell(one["name"]), cell(one["what"]), cell(value), cell(one["unit"]))
    out.print(rows)
    out.print()
    for line in described(document):
        out.print(cell(line))


def _terminated(*_: object) -> NoReturn:
    sys.exit(_TERMINATED)


if __name__ == "__main__":
    main()
