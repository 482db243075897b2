"""Write docs/benchmarks.md and its charts from the results in benchmarks/results: `python -m benchmarks.page`.

A result is what `python -m benchmarks --json`, `python -m benchmarks.peers run` or `python -m benchmarks.soak` wrote.
What no result has is in no table; what was found by other means is told in words.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks import measures
from benchmarks.charts import INK, OURS, chart
from benchmarks.machine import described
from benchmarks.peers.known import MEASURES

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results"
PAGE: Final = ROOT / "docs" / "benchmarks.md"

_HEAD: Final = """\
# Benchmarks

How fast Fairlane is, beside its peers, and who waits for whom. This page is made from the files in
`benchmarks/results` by `make bench-page`; the figures are of the machines named with them, and mean little on another
one: tables with different machines above them can't be compared with each other. Measure yours:
`python -m benchmarks --quick`.
"""
_NOTHING: Final = """
Nothing has been measured yet. `make bench` measures Fairlane, `make bench-peers` its peers; both write this page anew.
"""
_SOAK_ROWS: Final = 12
_SOAK: Final = """
Jobs come without end: one process submits them in bulk and keeps 20,000 waiting, one worker runs them and deletes what
ended {retention} s ago, and autovacuum goes by the settings of the tables. Measured by `make bench-soak`.
"""
_SNAPSHOT: Final = """
Jobs come without end: one process submits them in bulk and keeps 20,000 waiting, one worker runs them and deletes what
ended {retention} s ago. For {snapshot} minutes, from the end of the second on, another session holds a snapshot, as a
dump or a long report does: nothing that has died since can be cleared away. Measured by
`make bench-soak ARGS="--snapshot {snapshot}"`.
"""
_PEERS: Final = """
Each does the same: jobs that do nothing, submitted in bulk before one worker starts. *Run to the end* is the time from
the start of the first handler to the first look at the store that shows no job unfinished. *B waits* is the time until
the one job of B starts, submitted while A's jobs, of a millisecond each, wait. *Worker killed* says when a job runs
again whose worker was killed (SIGKILL) in the middle of it, at the default settings, with another worker started at
once; where a run leaves it out, it is what the run before it found. They were run in turn, each on a fresh store, with
the newest packages.

What differs from the defaults stands in each row, with where its makers describe it. Fairlane has 1,000 slots, as the
tables of its own figures have, and most peers that count slots 100. A slot of Fairlane's is free again when the end of
its job is on its way to the database, so with jobs that do nothing the slots are the size of its claims and of what it
writes at once, for which peers have settings of their own. `fairlane-100-slots`, where it was run, is Fairlane with as
many as they.
"""
_ALONE: Final = """
### Beside PgQueuer, job by job

*Submitted one after another* are jobs per second, each by itself and committed before the next, by one caller on an
event loop (uvloop) whose connection stays: `fl.aio.submit`, and PgQueuer's `Queries.enqueue` on an `AsyncpgDriver`.
*Picked up* is the time from the call that submits a job to the first line of its handler, by a worker with nothing
else to do; a pause of 20 to 300 ms comes before each job. *A job takes*, where the table has it, microseconds of a
processor while jobs are run to the end, by `/proc`: in the worker's process, and in all of PostgreSQL's, looks at the
store included. Measured in turn, each on a fresh store; peers that are not in the table were not measured so. These
alone: `make bench-peers ARGS="--only drain --only single --only pickup --out FILE"`.
"""
_HOLDS: Final = """
## What holds the figures

The aims were 1.3 times PgQueuer's drain, and within 15 % as much for 1,000 organizations as for one; 0.85 times its
processor time in the worker, and 1.5 times in PostgreSQL; its rate of single submissions; 1.2 times its bulk, 0.9 times
with deduplication; its pick-up; 15 ms for a neighbour; on SQLite 14,000 jobs/s and 0.75 times honker's drain. Reached,
in the tables above, are those for 1,000 organizations and the worker's processor time. What holds the others was
found by profiling (perf, py-spy, strace, `EXPLAIN (ANALYZE, BUFFERS, WAL)`):

- *Drain.* On two cores one is busy with PostgreSQL and one with Python, and both wait for the disk at each commit:
  a third of the time in the run of the table above. A job takes less of the worker than one of PgQueuer's, and more of
  PostgreSQL. [Three narrow tables](architecture.md#three-tables) in place of one wide row halved its part there. What
  is left are the moves between these tables, and a row in the execution log for each; PgQueuer deletes the row, and has
  neither log nor organizations. What was tried to no avail: to claim ahead while the jobs claimed before begin; to
  write ends in two transactions at a time; the interpreter's switch interval.
  With Python 3.13 on another machine, and two jobs of each of many organizations, the medians of three were 12,820 /s
  for one organization, 8,900 for a hundred and 8,765 for a thousand.
- *1,000 organizations.* Each lane is probed for each claim, and each organization's turn is reckoned. Where jobs are
  known to be short, a claim takes four of each. In turn, medians of three: one of each 10,260 /s, two 8,325 /s, four
  11,474 /s.
- *Neighbour.* While jobs come in, a claim takes 100 at most. Who is new waits for the one under way, for a look at the
  lanes and for a claim of its own, which take 10 to 20 ms each where worker, feeder and PostgreSQL share two cores.
  Rounds of other sizes, in turn: of 250, 51 and 128 ms (p50, p99), and of 100, 32 and 87; later and twice, of 100, 40
  and 113, of 50, 33 and 66, of 25, 26 and 51. Short rounds cost throughput where hints come all the time. Compared with
  rounds of 250 the drain was 0.85 with 100, 0.69 with 50, and 0.47 with 25; for 1,000 organizations 0.86, 0.59 and
  0.39. A soak, whose feeder hints once a second, lost nothing by any of them.
- *SQLite.* One writer at a time: a backlog of one organization costs the others the commits that are under way, each of
  which waits for the disk. Whoever waits for the lock looks again each millisecond: SQLite's own pauses, which grow to
  a tenth of a second, made the worst hundredth of a neighbour's jobs wait for 0.7 s instead of 0.1.
  A job that is submitted by itself waits for the disk once, 1 to 8 ms here, unless `sqlite_synchronous` is `normal`;
  what several threads submit meanwhile waits together with it. A worker's jobs took 65 to 75 µs of the processor each,
  a third of them in SQLite: rows in three tables, with their indexes, and the log. To claim and to end jobs on the
  event loop in place of threads saved 4 % of that, and had the loop wait for the disk, so it was left. A cache of 32 MB
  and a mapped file, tried together with rounds of 100 jobs, made the drain no faster. In turn, medians of three, it was
  10,224 /s with them and 11,694 /s without.
- *Bulk and single.* Each job is checked against its type's schema, its parameters are put into canonical form and
  hashed for deduplication, and log and key are written with it. A thousand jobs took 84 ms: 20 to check and hash them
  before the transaction, some 45 of PostgreSQL's four inserts, while the client writes the next statement, and 3 to 20
  for the commit. So with no client at all some 20,000 /s would be the most. PgQueuer took 21 ms for a thousand jobs.
  Statements of 100, 250 and 1,000 jobs were as fast as each other: 12,656, 13,846 and 12,809 /s, medians of three in
  turn, a run being up to a fifth off.
  A job by itself took 400 to 460 µs of the client's processor and 550 to 680 of PostgreSQL's; a job of PgQueuer's 120
  to 180 and 200 to 330, on two cores with much other work. Some 300 of the 400 are Python's, which takes 140 where
  nothing is waited for between submissions: after a wait the processor's caches hold something else. A quarter of them
  lends a pooled connection and takes it back; another quarter checks and hashes the parameters. To keep the connection
  between submissions saved a seventh. That was left, since others would miss it in the pool. All this is of
  `fl.submit`. `fl.aio.submit`, which the table of peers has, keeps one connection for each event loop, and a plain job
  takes no thread. A statement made for one row alone was no faster there.
- *Pick-up.* A submission waits for the disk once; its hint goes through PostgreSQL's NOTIFY on a connection of its
  own; the worker looks and claims, by one statement each, and waits for the disk once more. To plan the claim each
  time took 1.7 ms, and the claim itself 0.5; now it is planned once. Most of what is left is the two waits for the
  disk. A claim that did not wait would be forgotten if PostgreSQL crashed, while its job runs. To notify inside the
  submission, in place of after it, made no difference: in turn 9.3, 13.3 and 20.3 ms (p50), and 10.4, 12.1 and 18.6.
  On a machine that was idle each of these takes longer than on a busy one: on the Xeon above, after a pause of
  0.2 s, `SELECT 1` alone took 4.8 ms instead of 0.2, and an INSERT of one row 6.8 ms instead of 0.3.
- *Row security*, sealed payloads and claims that bear a held snapshot came last. In turn with the version before them,
  ten times: 0.94 of its drain, 0.94 of its single submissions and 0.87 of its bulk, on the machine of the first table
  and with its spread of a fifth between runs.
- *Indexes for lists* by user and by queue, and columns beside that of the status, cost little. With and without them in
  turn, three times, medians, on the same machine: drain 8,544 and 8,896 /s, threads 7,518 and 7,620 /s, bulk 12,130 and
  11,777 /s; each run was up to a fifth off. So did the role that transactions of one organization have, and the type in
  the index by user: without and with both, drain 7,932 and 8,639 /s, single 984 and 1,050 /s, bulk 13,796 and
  12,558 /s on the machine of the lists below, where a run was up to a quarter off.
- *Lists.* Of the 351 questions of `make bench-lists` 339 were answered within 150 ms (p95, a million jobs, once, on two
  cores of another machine, PostgreSQL 18, row security on), and of the lists, counts and pages of jobs all but one:
  counts by a label that six tenths have (0.2 to 0.3 s). That takes some 50,000 probes of an index, of 4.5 µs each, and
  a hash of all that have the label took as long. Charts over a day take up to 0.2 s, metrics of all jobs 0.4 s. In turn
  on this machine, before several labels were counted at once, and dead letters read by what was decided: two labels
  that very many jobs have, but none has both, 0.11 s to list and 0.44 s to count, instead of 0.05 and 0.13, and a page
  of all dead letters 0.24 s instead of 0.01.
- A session that holds a snapshot makes claims slower: see [Known limits](known-limits.md).
- *Files and lines.* From its submission to its end a plain job executes code of 48 files on PostgreSQL and 51 on
  SQLite; the aim was 40. [`test_way_of_a_job.py`](../tests/engine/test_way_of_a_job.py) counts them, and holds this
  bound. [Nine](architecture.md#read-these-nine-files-first) are to be read. Some twenty of the others are asked one
  thing, such as if a connection still lives, if a key seals the parameters, or if they hold a secret. To join files
  that many others import would save a few, and put two subjects into one.
  `engine`, `store` and `domain` have 31,600 lines, where 18,000 were the aim: 17,600 of code, 5,700 blank ones, 5,900
  of docstrings and comments, and 2,400 of imports. Bounds on what one organization can take from others made them
  more. A search for what could go found 1 %; the rest would take features or the figures above with it.
"""
_FAIRNESS: Final = """
## Fairness

A simulation of [`FairShare`](../src/fairlane/domain/fairness.py), which shares out a worker's slots: no database and no
clock, so it is the same on every machine.

![Two organizations: one's long jobs give way until each has half of the slots](charts/fairness-2.png)

An organization that is alone may take every slot, and jobs are never interrupted; a newcomer gets each slot that is
freed, until both have the same.

![A hundred organizations with jobs of all lengths: slots by weight](charts/fairness-100.png)

However long its jobs are, an organization gets slots by its weight. A line is the median of its group, on a band from
the fewest to the most.

![Ten thousand organizations: jobs started by each](charts/fairness-10000.png)

Where there are more organizations than slots, they come by turns. One that comes later gets its turn at once, and is
owed nothing for the time before.
"""
_PICKED_UP: Final = ("pickup-p50", "pickup-p99")
# A figure of a peer, what it is called in a table, and its unit.
_JOB_BY_JOB: Final = (
    ("bulk", "submitted in bulk", "jobs/s"),
    ("drain", "run to the end", "jobs/s"),
    ("cpu-worker", "a job takes of the worker", "µs"),
    ("cpu-store", "and of PostgreSQL", "µs"),
    ("single", "submitted one after another", "jobs/s"),
    ("pickup-p50", "picked up, p50", "ms"),
    ("pickup-p99", "picked up, p99", "ms"),
)
_DEFINITIONS: Final = (
    ("bulk", measures.bulk),
    ("single", measures.single),
    ("drain, threads", measures.drain),
    ("drain-behind, -later, -limited", measures.deep_drain),
    ("compute", measures.compute),
    ("pickup", measures.pickup),
    ("neighbour", measures.neighbour),
)


def results() -> dict[str, dict[str, Any]]:
    """Return all results by the names of their files."""
    files = sorted(RESULTS.glob("*.json"), key=lambda path: path.stem)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The page's text."""
    own = [one for one in found.values() if "figures" in one]
    peers = [one for one in found.values() if "peers" in one]
    soaks = [one for one in found.values() if "samples" in one and "retention" in one]
    parts = [_HEAD, *([] if found else [_NOTHING])]
    if own:
        parts += ["\n## Fairlane\n", *map(_own, own), _definitions()]
    if soaks:
        parts += ["\n## A soak\n", *map(_soak, soaks)]
    if peers:
        alone = [one for one in peers if _alone(one)]
        parts += ["\n## Beside its peers\n", _PEERS, *map(_beside, filter(_complete, peers))]
        parts += [*([_ALONE] if alone else []), *map(_job_by_job, alone)]
    return "".join([*parts, *([_HOLDS] if found else []), _FAIRNESS])


def _own(document: Mapping[str, Any]) -> str:
    rows = ((one["what"], _number(one["value"], one["unit"]), _spread(one)) for one in document["figures"])
    where = "".join(f"- {line}\n" for line in described(document))
    table = _table(("figure", "median", f"runs: {_runs(document['figures'])}"), rows)
    deep = document.get("deep")
    among = f", among {deep:,} jobs that wait" if deep else ""
    return f"\n### {document['database']['kind']}{among}\n\n{where}\n{table}"


def _soak(document: Mapping[str, Any]) -> str:
    """A dozen of its samples, the last one among them."""
    samples = document["samples"]
    step = max(len(samples) // _SOAK_ROWS, 1)
    tables = [name for name in ("jobs", "live", "ended", "execution_log", "dedup_keys") if name in samples[-1]]
    rows = (
        (
            f"{one['minute']:.0f}",
            f"{one['total']:,}",
            _number(one["speed"], "jobs/s"),
            *(f"{one[name]['rows'] / 2**20:,.0f} + {one[name]['indexes'] / 2**20:,.0f}" for name in tables),
        )
        for one in samples[::-1][::step][::-1]
    )
    head = (
        "minute",
        "jobs so far",
        "ended, within the last minute",
        *(f"{name}: rows + indexes, MiB" for name in tables),
    )
    where = "".join(f"- {line}\n" for line in islice(described(document), 2))
    text = (_SNAPSHOT if document.get("snapshot") else _SOAK).format(**document)
    return f"{text}\n{where}\n{_table(head, rows)}"


def _definitions() -> str:
    told = "".join(f"- *{name}*: {' '.join((measure.__doc__ or '').split())}\n" for name, measure in _DEFINITIONS)
    return f"\n{(measures.__doc__ or '').partition(chr(10))[2].strip()} What each figure is:\n\n{told}"


def _beside(document: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{one['name']} {one['version']}",
            one["store"],
            _number(one["bulk"]["value"], "jobs/s"),
            _number(one["drain"]["value"], "jobs/s"),
            _seconds(one["neighbour"]["value"]),
            _killed(one),
            _settings(one),
        )
        for one in _complete(document)
    ]
    head = ("", "store", "submitted in bulk", "run to the end", "B waits", "worker killed", "settings")
    return (
        f"{_where(document)}- {document['jobs']:,} jobs, medians of {document['runs']} runs\n\n{_table(head, rows)}"
        + _missing(document)
        + "\n![Run to the end, jobs per second](charts/peers-drain.png)\n"
        + "\n![How long B's one job waits behind A's](charts/peers-neighbour.png)\n"
    )


def _job_by_job(document: Mapping[str, Any]) -> str:
    found = _alone(document)
    known = [column for column in _JOB_BY_JOB if any(column[0] in one for one in found)]
    rows = [
        (
            f"{one['name']} {one['version']}",
            one["store"],
            *(_number(one[name]["value"], unit) if name in one else "not measured" for name, _, unit in known),
            _settings(one),
        )
        for one in found
    ]
    head = ("", "store", *(title for _, title, _ in known), "settings")
    submitted, picked_up = (min(document["jobs"], MEASURES[one]) for one in ("single", "pickup"))
    drained = f"{document['jobs']:,} jobs in bulk, " if any("bulk" in one for one in found) else ""
    return (
        f"{_where(document)}- {drained}{submitted:,} jobs one after another, {picked_up:,} picked up, "
        f"medians of {document['runs']} runs\n\n{_table(head, rows)}{_missing(document)}"
    )


def _where(document: Mapping[str, Any]) -> str:
    this = document["machine"]
    where = f"{this['cores']} cores, {this['processor']}, {this['system']}, Fairlane {this['fairlane']}"
    stores = "".join(f"- {name}: {', '.join(f'{k} {v}' for k, v in its.items())}\n" for name, its in _stores(document))
    return f"\n- {document['measured_on']}, {where}\n{stores}"


def _missing(document: Mapping[str, Any]) -> str:
    missing = "".join(f"- {one['name']}: not run: {why}\n" for one in document["peers"] if (why := _why_missing(one)))
    return f"\n{missing}" if missing else ""


def _settings(one: Mapping[str, Any]) -> str:
    return f"{one['settings']} ([source]({one['source']}))" if "://" in one["source"] else str(one["settings"])


def _stores(document: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, str]]]:
    stores: Mapping[str, Mapping[str, str]] = document["stores"]
    return stores.items()


def _complete(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in document["peers"] if "neighbour" in one]


def _alone(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in document["peers"] if not {"single", *_PICKED_UP}.isdisjoint(one)]


def _why_missing(one: Mapping[str, Any]) -> str:
    return str(one.get("not_run") or one.get("failed", "")).replace("\n", " ")[-200:]


def _killed(one: Mapping[str, Any]) -> str:
    if "again" not in one:
        return "not measured"
    return "not run again within 90 s" if one["again"] is None else f"runs again after {one['again']:.0f} s"


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f} /s" if unit == "jobs/s" else f"{value:,.1f} {unit}"


def _seconds(value: float) -> str:
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"


def _spread(figure: Mapping[str, Any]) -> str:
    low, high = min(figure["runs"]), max(figure["runs"])
    return f"{_number(low, figure['unit'])} – {_number(high, figure['unit'])}"


def _runs(figures: Sequence[Mapping[str, Any]]) -> int:
    return max((len(one["runs"]) for one in figures), default=0)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines: Iterator[Sequence[str]] = iter([head, ["---"] * len(head), *rows])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(document: Mapping[str, Any]) -> None:
    """The charts of one result of the peers."""
    found = _complete(document)
    if not found:
        return
    for figure, title, scale in (
        ("drain", "Jobs run to the end per second", "linear"),
        ("neighbour", "Seconds that B's one job waits, on a logarithmic scale", "log"),
    ):
        bars = sorted(found, key=lambda one: one[figure]["value"], reverse=scale == "log")
        names, values = [one["name"] for one in bars], [one[figure]["value"] for one in bars]
        colours = [OURS if name.startswith("fairlane") else INK for name in names]
        with chart(f"peers-{figure}", title, height=0.6 + 0.24 * len(bars)) as axes:
            drawn = axes.barh(names, values, color=colours, height=0.7)
            axes.bar_label(drawn, [f"{one:,.0f}" if one >= 10 else f"{one:.3g}" for one in values], padding=3)
            axes.set_xscale(scale)
            axes.margins(x=0.12)


if __name__ == "__main__":
    everything = results()
    for one in everything.values():
        if "peers" in one:
            draw(one)
    PAGE.write_text(page(everything), encoding="utf-8")
    print(f"Written to {PAGE}.")
