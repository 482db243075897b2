"""The command: runs what is asked for, as often as asked for, and prints medians."""

import json
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.status import Status

from fairlane.cli.bench.machine import described, machine
from fairlane.cli.bench.measures import MEASURES, Measure, Size
from fairlane.cli.bench.site import database_place, fresh_site
from fairlane.cli.output import cell, console, number_of, remark, table
from fairlane.cli.session import leave_out_logins, target_of

_JOBS, _QUICK_JOBS = 20_000, 1000
_SAMPLES, _QUICK_SAMPLES = 200, 10
_RUNS: Final = 3
_TERMINATED: Final = 143  # what shells report for a process that SIGTERM ended


def _known(names: list[str] | None) -> list[str]:
    for name in names or ():
        if name not in MEASURES:
            raise typer.BadParameter(f"There is no {name!r}; choose from {', '.join(MEASURES)}.")
    return list(dict.fromkeys(names or ()))


def _chosen(names: list[str], deep: int) -> list[str]:
    """Return all of them without names; those that need a depth only with one."""
    if missing := [name for name in names if MEASURES[name].is_deep and not deep]:
        raise typer.BadParameter(f"{missing[0]} needs --deep N, the number of jobs that wait beside it.")
    return names or [name for name, measure in MEASURES.items() if deep or not measure.is_deep]


def bench(
    context: typer.Context,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="On a PostgreSQL server of its own, not SQLite.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="One short run, to see that it works; its figures are noisy.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, metavar="N", help="How many a run has. [default: 20000; 1000 with --quick]"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            callback=_known,
            autocompletion=lambda incomplete: [name for name in MEASURES if name.startswith(incomplete)],
            help=f"Measure this alone: {', '.join(MEASURES)}; may be repeated.",
        ),
    ] = None,
    runs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Medians of how many. [default: 3; 1 with --quick]")
    ] = None,
    deep: Annotated[
        int, typer.Option("--deep", min=0, metavar="N", help="Measure drains among so many that wait, too.")
    ] = 0,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write one JSON document there; - is standard output.")
    ] = None,
) -> None:
    """Measure this machine with this database: submissions, drains, pick-up, and a noisy neighbour.

    The database that --url names is left alone: each run makes one of its own beside it, on the same server or in the
    same folder, and deletes it. Without --url it is SQLite in a temporary folder. It takes some minutes.

    \b
    Examples:
        fairlane bench --quick
        fairlane bench --postgres --json figures.json
        fairlane bench --url postgresql://localhost/jobs --only drain --only neighbour --jobs 100000
    """
    url = target_of(context).url
    if postgres and url is not None:
        raise typer.BadParameter("--postgres is a server of its own; leave --url and FAIRLANE_URL out.")
    names = _chosen(_known(only), deep)
    leave_out_logins()
    size = Size(jobs or (_QUICK_JOBS if quick else _JOBS), _QUICK_SAMPLES if quick else _SAMPLES, deep)
    # So that databases, processes and a server are put away then, too.
    signal.signal(signal.SIGTERM, _terminated)
    with database_place(url, postgres=postgres) as place:
        document = _measured(place, names, size, runs or (1 if quick else _RUNS))
    if json_to != "-":
        _print(document, console())
    if json_to is not None:
        _write(json_to, json.dumps(document, indent=2))
    if quick:
        remark(
            f"--quick shows that it works: of {number_of(size.jobs, 'job')} a run, figures differ much from one run to "
            f"the next. For figures to compare leave --quick out: medians of {_RUNS} runs of {_JOBS:,} jobs."
        )


def _measured(place: str, names: list[str], size: Size, runs: int) -> dict[str, Any]:
    """Return the document: where it was measured, and all figures with the runs that they are medians of."""
    out = console(stderr=True)
    with fresh_site(place) as site:
        database = site.fl.database.read(site.fl.database.kind.facts, of=())
    found: list[dict[str, Any]] = []
    with Status("", console=out) if out.is_terminal else nullcontext() as status:
        for name in names:
            if status is not None:
                status.update(f"Measuring {name} …")
            else:
                remark(f"Measuring {name} …")  # it takes minutes: who reads a log wants to see it go on
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


def _print(document: Mapping[str, Any], out: Console) -> None:
    rows = table("FIGURE", "WHAT", "VALUE", "UNIT")
    rows.columns[2].justify = "right"
    for one in document["figures"]:
        value = f"{one['value']:,.0f}" if one["unit"] == "jobs/s" else f"{one['value']:,.1f}"
        rows.add_row(cell(one["name"]), cell(one["what"]), cell(value), cell(one["unit"]))
    out.print(rows)
    out.print()
    for line in described(document):
        out.print(cell(line))


def _write(target: str, text: str) -> None:
    if target == "-":
        print(text)
    else:
        Path(target).write_text(f"{text}\n", encoding="utf-8")


def _terminated(*_: object) -> NoReturn:
    sys.exit(_TERMINATED)
