"""Write docs/reliability.md and its chart from the results in tests/storm/figures: `python -m tests.storm.page`.

`python -m tests.storm` writes a result. Each figure of the page is from a result.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.charts import INK, OURS, chart
from tests.storm import memory, profiles
from tests.storm.bounds import quantile
from tests.storm.explain import PROMPT
from tests.storm.handlers import MOST_LIMITED
from tests.storm.results import FOLDER, kept_as

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_NAMES: Final = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}

_HEAD: Final = """\
# Reliability

Fairlane's first promise is that no job is lost. `make storm` tries to break it. It runs real workers under load, and
kills, stops and cuts off these workers and their database. Then it compares what was submitted with what happened.
`make storm` writes this page from the files in `tests/storm/figures`. The tests include a storm of half a minute on
each database. On a slow machine, `--seconds` spreads the same jobs and faults over a longer time.
"""
_RULES: Final = """
## What a storm submits

A storm submits async handlers, threads and processes of five organizations. Among them are parents and children,
duplicates, retries, timeouts, cancels, limits and dead letters. Each organization has a schedule with a tick each
second, and any worker may submit the job of a tick. Before a handler returns, it writes its effect into a ledger
outside the engine. After the storm, the ledger is compared with the submissions and with the database. During the whole
storm a thread reads submitted jobs with `fl.get`.

## What must not happen

### A lost job

A job counts as lost in each of these cases:

- It should take effect, and did not.
- It should end in a certain way, and did not. For example, the engine answered that it is canceled.
- It ran, and is not in the database.
- A tick has no job.
- The result of a completed job is missing, or a file, log line or progress that its last attempt wrote. Files are read
  from the artifact storage.
- The thread that reads submitted jobs did not find it.
- It is not in exactly one of the tables of [live and ended jobs](architecture.md#three-tables).
- Only a part of its batch is in the database.

### An unexplained duplicate

Each effect of a job beyond its first is a duplicate. Jobs run at least once, so a worker that is killed between the
effect and the commit causes a duplicate. Handlers take 0.15 s, so many kills come at this moment. A fault explains a
duplicate if all of this is true:

- The job's log says that the attempt's worker was lost.
- The fault hit this worker: it was killed, stopped, cut off or made slow. A fault of the database alone explains
  nothing, and neither does a clock.
- The fault came before the worker had to have written the outcome: at most three seconds after the effect. Something
  may have kept the worker from writing: an ended connection, a slow network, or a worker or database that was away.
  Then the three seconds begin at the end of that, plus the wait for the next try, at most one second.
- SIGTERM explains a duplicate only if the worker could not write at some moment of its last four seconds. A slow
  network is no reason for that.

A canceled job, and a job that faults made a dead letter, should have no effect. So its first effect already needs such
an explanation. No fault explains these:

- a second job of one tick
- an effect of a job that was planned without one
- a second live job with the same deduplication key

### A zombie

A zombie is an effect or a write after the attempt's lease was lost.

- An effect is explained if the worker was stopped or cut off until at most three seconds before. Stops that follow each
  other as closely count as one.
- A write is a zombie if it is in the database at the end, or if a later attempt read it. No fault explains it. Results,
  checkpoints, lines, progress and files name their attempt. It must be the attempt under which the engine stores them.
  Their time must be at most one second after the attempt's end, because the engine reads the clock before it waits for
  the row.
- A result must be of the job's last attempt by the engine's count, and not of a lost attempt.
- The log of each job must lead by legal transitions to the row that it has. So an overwritten end is a zombie.

The storm does not see a write under a lost lease that the next attempt overwrote. It does not see a checkpoint that the
next attempt did not use and that its completion deleted.

### A job taken from a healthy worker

A rescue is wrong if no fault explains it, even if the job took effect once. A fault explains a rescue if the worker had
the job when it was killed, stopped or cut off, before the rescue. The rescue must not come before the lease can have
run out. It must not come after the worker's next heartbeat. Two faults have their own rules:

- SIGTERM: the worker lets its jobs end. About half of these workers get a second SIGTERM within a tenth of a second,
  and release running jobs at once. A rescue is explained only if the worker could not write then.
- A slow network: the worker may lose jobs to an outage of the database within the same lease. Its heartbeat takes
  longer than the time that a healthy heartbeat has for the next try.

### Other broken promises

- More jobs of a limited type ran at the same time than its limit, by the ledger or by the engine's log.
- A child began before the job that it depends on had taken effect and had ended in the database.
- A job began before its time: its delay, its tick or its wait after a failure.
- A job has a time that is no tick of its schedule.
- A handler was called for another organization than its job's, or with the parameters of another job.

## When a storm fails

A failed storm writes no figures. It fails if any count above is not 0, and also in these cases:

- A worker ends in an unplanned way, or has a traceback in its log.
- In the long outage a worker loses a job, or there is an unplanned dead letter.
- A killed worker's job runs again after more than four leases, with no other fault in the way.
- After 50 kills with no other fault in the way, more than one in a hundred of their jobs run again after more than two
  leases.
- After ten kills or more, no handler is called within two seconds of PostgreSQL's return, unless it is away again by
  then.
- From the tenth minute on, the memory of a spared worker grows by more than a tenth in any half hour.
- The storm proves too little, as this table says.

A fault is *in the way* if it blocks the database, stops a worker or leaves it half-open connections. The time that
counts is from one lease before the kill until two leases after it. No such fault begins in the last fifth of a storm,
except repeated faults. A fault counts if it lasted to its end. If its worker was killed meanwhile, it is repeated.

| storms | what must have happened |
|---|---|
| all | every planned fault; a refused duplicate; an effect of each type; the limited type at its limit |
| from 3 kills | a rescue |
| from 10 kills | a rescue after a kill; more than half of the cancel requests stopped their running job |
| from 100 kills | ten kills with no other fault in the way; an effect under a lost lease |
| from 100 kills | a handler interrupted at SIGTERM, and its job released |

The database's files are on the machine's disk without `fsync`: the storm tests the loss of processes and connections,
not of the machine. Wrong clocks are tested only on PostgreSQL, whose server's clock counts. SQLite has only the
machine's clock.

Some jobs wait for more than two leases. A worker rescues only after its own heartbeats have succeeded for a full lease
([why](hard-places.md#leases-and-fencing)). In a storm the database is away and rescuing workers are killed, too. A job
that lost its third worker is a suspect. A single suspect becomes a dead letter. Several may start apart from each
other, at the end of their lanes ([why](hard-places.md#which-job-took-its-worker-down)): behind a long backlog they wait
longer.

## Other tests and failed storms

`tests/faults` lose connections one by one ([Contributing](../CONTRIBUTING.md#lost-connections) says what they prove).

The million jobs below are from before the [three tables](architecture.md#three-tables). Since then, three storms of a
million jobs failed by these rules, all on 2026-12-02:

| | first | second | third |
|---|---|---|---|
| commit | 52c99c6e | 02adb371 | 7f67be82 |
| seed | | 174368 | 20261203 |
| lost jobs, jobs taken from a healthy worker, other broken promises | 0 | 0 | 0 |
| reads of submitted jobs, all found | 121,000 | 118,000 | 124,000 |
| second effects | 10,762 | 12,116 | 11,445 |
| unexplained | 48 | 28 | 14 |
| zombies | 0 | 2 | 0 |
| growth of a spared worker in half an hour | 10.1 % | 11.1 % | 10.4 % |
| its memory at most | 134 MiB | 128 MiB | 132 MiB |
| 99 in 100 jobs ran again with no other fault in the way within (bound: 2 leases) | | 2.3 leases | 2.2 leases |

- The load of the two cores was 10 to 27. The machine had other work during the first two storms, but not during the
  third.
- The faults of the unexplained effects came too late: mostly 3 to 4 seconds after them, once 8. In the third storm they
  came 3.0 to 3.4 seconds after them. Their outcomes had not been written before.
- The two zombies were late effects. Their workers had slow or half-open connections until 4.4 s and 1.3 s before, while
  PostgreSQL restarted three times. The database had no write of a lost attempt.
- In the third storm the worker grew as faults ended and it ran more jobs. It did not grow in the last ten minutes.
- The third storm was judged twice. At its end the machine was frozen for 46 s, and its time of day was set forward. The
  first verdict used only the last reading of both clocks, so everything seemed 46 s too early. The verdict above uses
  the same rows and ledger, and the difference of the clocks before. Storms now read both clocks all the time.
"""
_MUST_BE_NONE: Final = {
    "lost": "lost",
    "unexplained duplicates": "duplicates",
    "zombies": "zombies",
    "taken from a healthy worker": "taken",
    "other broken promises": "broken",
}
_NOTHING: Final = "\nThere are no figures yet: run `make storm`.\n"


def results() -> list[dict[str, Any]]:
    """Return all results, by database."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def page(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the page's text."""
    if not found:
        return f"{_HEAD}{_NOTHING}{_RULES}"
    return "".join([_HEAD, _summary(found), _RULES, *map(_section, found)])


def _summary(found: Sequence[Mapping[str, Any]]) -> str:
    head = ("storm", "jobs", "faults", "second effects that a fault explains", *_MUST_BE_NONE)
    rows = [
        (
            _NAMES[one["database"]],
            f"{one['submitted']:,}",
            f"{sum(one['faults'].values()):,}",
            f"{sum(one['explained'].values()):,}",
            *(f"**{one[key]}**" for key in _MUST_BE_NONE.values()),
        )
        for one in found
    ]
    return f"\n{_table(head, rows)}"


def _section(one: Mapping[str, Any]) -> str:
    machine = one["machine"]
    where = f"{machine['cores']} cores, {machine['processor']}, {machine['system']}, Python {machine['python']}"
    rows = [
        ("Jobs submitted", f"{one['submitted']:,}"),
        ("Ticks of schedules, one job each", f"{one['ticks']:,}"),
        ("Effects (canceled jobs and planned dead letters have none)", f"{one['effects']:,}"),
        ("Duplicates refused, as planned", f"{one['rejected']:,}"),
        ("Planned duplicates accepted, because the first job had ended", f"{one['twins']:,}"),
        (f"Most jobs at once of a type with the limit {MOST_LIMITED}", f"{one['limited']}"),
        ("Jobs that stopping workers released", f"{one['released']}"),
        ("Running jobs canceled", f"{one['stopped']}"),
        *([("Reads of submitted jobs during the storm", f"{one['looks']:,}")] if "looks" in one else []),
        ("**Lost jobs**", f"**{one['lost']}**"),
        ("**Unexplained duplicates**", f"**{one['duplicates']}**"),
        ("**Zombies**", f"**{one['zombies']}**"),
        ("**Jobs taken from a healthy worker**", f"**{one['taken']}**"),
        ("**Other broken promises**", f"**{one['broken']}**"),
        *((f"Jobs rescued after {kind}", f"{count}") for kind, count in one["rescued"].items()),
        *((f"Duplicates explained by {kind}", f"{count}") for kind, count in one["explained"].items()),
        ("Explained effects under a lost lease, without a write in the database", f"{one['late_effects']}"),
        ("Dead letters of suspects: faults took three of their workers", f"{one['buried']}"),
    ]
    at = f" at commit {one['commit']}" if one.get("commit") else ""
    faults = [(kind, f"{count}") for kind, count in one["faults"].items()]
    return (
        f"\n## {_title(one)}\n\n"
        f"{one['measured_on']}, {where}, Fairlane {machine['fairlane']}{at}.\n"
        f"{_workers(one)}, a lease of {one['lease']:g} s, {one['seconds']:.0f} s, seed {one['seed']}.\n"
        "The same plan, with the code of that day: "
        f'`make storm ARGS="--seed {one["seed"]} --database {one["database"]} '
        f'{_size(one)}"`.\n\n'
        f"{_table(('', ''), rows)}\n{_table(('injected', 'times'), faults)}\n{_recovery(one)}"
    )


def _title(one: Mapping[str, Any]) -> str:
    database = _NAMES[one["database"]]
    return f"{database}, {one['jobs']:,} jobs" if one["spared"] else database


def _workers(one: Mapping[str, Any]) -> str:
    more = f" and {one['spared']} spared worker (only faults of the database reach it)" if one["spared"] else ""
    return f"{one['workers']} workers{more}"


def _size(one: Mapping[str, Any]) -> str:
    size = "--long" if one["spared"] else f"--jobs {one['jobs']}"
    usual = profiles.full(one["database"], one["jobs"]).seconds
    # Figures from before storms could be stretched have no plan.
    return size if one.get("planned", usual) == usual else f"{size} --seconds {one['planned']:g}"


def _recovery(one: Mapping[str, Any]) -> str:
    rows, lines, lease = [], [], one["lease"]
    kills = f"{one['undisturbed_kills']} kills"
    for what, name in (
        ("a kill until the worker's jobs ran again, without canceled jobs", "recoveries"),
        (f"{kills} with no other fault in the way until their jobs ran again", "undisturbed"),
    ):
        if values := one[name]:
            times = (f"{value:.2f} s, {value / lease:.2f} leases" for value in _spread(values))
            rows.append((what, *times, f"{len(values)}"))
    if gaps := one["gaps"]:
        late = sum(gap > PROMPT for gap in gaps)
        rows.append(
            ("an effect until the fault that explains its duplicate", *map(_seconds, _spread(gaps)), f"{len(gaps)}")
        )
        lines.append(
            f"- The fault that explains a duplicate came {late} time{'s' * (late != 1)} more than {PROMPT:g} s after "
            "the effect. Another fault had kept the worker from writing."
        )
    if suspects := one["suspects"]:
        lines.append(
            f"- {len(suspects)} more jobs were suspects, and ran again after {suspects[0]:.2f} to "
            f"{suspects[-1]:.2f} s: several suspects of one worker start one after the other "
            "([why](hard-places.md#which-job-took-its-worker-down))."
        )
    if claims := one["first_claims"]:
        lines.append(
            f"- After the database's return, the first handler was called within {min(claims):.2f} to "
            f"{max(claims):.2f} s ({len(claims)} returns). A return of less than two seconds does not count."
        )
    if outage := one["outage"]:
        lines.append(
            f"- In an outage of {outage['seconds']:g} s under load, workers lost {outage['rescued']} jobs, and there "
            f"were {outage['buried']} unplanned dead letters."
        )
    listed = "\n".join(lines)
    measured = f"{_table(('time from …', 'p50', 'p99', 'at most', 'number'), rows)}\n" if rows else ""
    grown = f"\n{_memory(**one['memory'])}" if one["memory"] else ""
    return f"{measured}{listed}\n{grown}\n![How long a killed worker's jobs waited](charts/storm-{kept_as(one)}.png)\n"


def _memory(every: float, mib: Sequence[float], anonymous: Sequence[float]) -> str:
    """Return a table of the memory of the warm worker and of the worker at the end: medians, as memory varies."""
    stretch, warm = (round(seconds / every) for seconds in (memory.STRETCH, memory.WARM))

    def told(looks: Sequence[float]) -> tuple[str, ...]:
        early, late = median(looks[warm - stretch : warm]), median(looks[-stretch:])
        grown = memory.growth(looks, every)
        most = f"{grown:+.1%}" if grown is not None else ""
        return f"{early:.0f} MiB", f"{late:.0f} MiB", f"{late / early - 1:+.1%}", f"{max(looks):.0f} MiB", most

    warm_minute, minutes, of = memory.WARM / 60, len(mib) * every / 60, memory.STRETCH / 60
    first = f"{of:.0f} minutes until the {warm_minute:.0f}th"
    last, most = (
        f"last {of:.0f} of {minutes:.0f} minutes",
        f"most growth in 30 minutes, from the {warm_minute:.0f}th on",
    )
    head = ("memory of a spared worker, without its child processes", first, last, "growth", "at most", most)
    return _table(head, [("all", *told(mib)), ("without files (`RssAnon`)", *told(anonymous))])


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the largest of sorted values."""
    return median(values), quantile(values, 0.99), values[-1]


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def draw(one: Mapping[str, Any]) -> None:
    """Draw the share of a killed worker's jobs that ran again, by the time since the kill."""
    title = f"{_title(one)}: share of a killed worker's jobs that run again, by leases since the kill"
    with chart(f"storm-{kept_as(one)}", title) as axes:
        for name, colour, label in (("undisturbed", OURS, "no other fault in the way"), ("recoveries", INK, "all")):
            if values := one[name]:
                shares = [number / len(values) for number in accumulate(1 for _ in values)]
                axes.step(
                    [seconds / one["lease"] for seconds in values], shares, where="post", color=colour, label=label
                )
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.02)
        axes.grid(visible=True)
        axes.legend(frameon=False, loc="lower right", labelcolor=INK)


def main() -> None:
    """Write the page and the charts."""
    found = results()
    for one in found:
        draw(one)
    PAGE.write_text(page(found), encoding="utf-8")
    sys.stdout.write(f"Written to {PAGE}.\n")


if __name__ == "__main__":
    main()
