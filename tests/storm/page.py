"""Write docs/reliability.md and its chart from the results in tests/storm/figures: `python -m tests.storm.page`.

A result is what `python -m tests.storm` has left. No figure stands on the page that is not in one of them.
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

What Fairlane promises first is that no job is lost. `make storm` tries to break that: it runs real workers under load
while they are killed, stopped and cut off and the database goes away under them, and then checks the books. This page
is made from the files in `tests/storm/figures` by `make storm`; a storm of half a minute on each database is among the
tests. On a machine that is too slow for the pace, `--seconds` spreads the same jobs and faults over a longer time.
"""
_RULES: Final = """
## What is counted

What is submitted is a mix: async handlers, threads and processes of five organizations; families of jobs, duplicates,
retries, timeouts, cancels, limits, dead letters; and each organization has a schedule with a tick each second, of which
whichever worker comes first makes a job. Each handler writes what it does into a ledger outside of the engine before it
returns. Afterwards the ledger is compared with what was submitted and with what the database has:

- *Lost*: a job that was to take effect and did not, or that did not end as it was to, as one that was canceled by the
  engine's own answer; one that ran and is nowhere; a tick that became no job; the result of a job that completed, and a
  file, a line or the progress that its last attempt left with the engine. Files are read from their storage. Also a job
  that was not there when somebody looked: during the whole storm, faults and all, a thread looks by `fl.get` for jobs
  that were submitted, and each must be there. And a job that does not stand in exactly one of the tables of
  [live and ended jobs](architecture.md#three-tables).
- *Duplicate*: each effect of a job beyond its first. Jobs run at least once, so a worker that is killed between the
  effect and the commit leaves one; with handlers of 0.15 s on a machine that is busy, many kills come just then. It
  counts as explained only if both hold. The job's log says that the attempt ended as its worker was lost. And that very
  worker was killed, stopped, cut off or made slow before it had to have written the end: within three seconds of the
  effect or, where something else kept it from writing (a connection that was ended, a slow network, the worker or the
  database away), within three seconds of the end of that and of its wait for the next try, which is a second at most.
  No fault of the database explains one by itself, nor does a clock; SIGTERM does only where the worker could not write
  at some moment of its last four seconds, for which a slow network is no reason. Nothing explains a second job of a
  tick. Of a job that was canceled, or that faults made a dead letter, the first effect needs such an explanation
  already; of one that was to have no effect, nothing explains any.
- *Zombie*: an effect after its attempt's lease was lost, unless the worker was stopped or cut off until three seconds
  before (stops that are as close to each other count as one); or something that stands in the database in the end, or
  that a later attempt was given, though an attempt wrote it that had no right to. A result, a checkpoint, a line, a
  progress or a file says of which attempt it is, and that has to be the one under which the engine keeps it, with a
  time from before its end, or a second after it, as the end reads the clock before it waits for its row. A result is of
  the job's last attempt, by the engine's own count, and of none that was lost. And the log of each job leads by legal
  steps to the row that it has: an end that was overwritten again is a step too many. Nothing explains those. What was
  written under a lost lease and overwritten by the attempt with the lease would not be seen; nor would a checkpoint of
  which that attempt made no use and that went as it completed.
- *Taken from a healthy worker*: a job that a rescuer took, whether or not it then took effect twice, from a worker that
  was not killed, stopped or cut off while it had the job and before it was taken, or so shortly before that its lease
  can not have run out, or that had been back for long enough to be heard of. One that ends at SIGTERM lets its jobs
  end; about half of such workers get a second SIGTERM within a tenth of a second, and give back at once what still
  runs. Only where it could not write then, jobs may be taken later. And one with a slow network may lose them to an
  outage of the database within the same lease, as its heartbeat takes longer than a healthy one has for the next try.
- *Other promises broken*: more jobs of a limited type at once than its limit, by the ledger or by the engine's log; a
  child that began before the job that it depends on had taken effect and had ended, by the database; a job that began
  before its time, be that its delay, its tick or its rest after a failure; a job of a moment that is no tick of its
  schedule; a handler that was called for another organization than its job's, or with what another job was submitted
  with.

A batch of which half is there is lost, and a second job under a deduplication key that a living job has is a duplicate.

A storm fails, and leaves no figures here, if any of these is not 0, and also:

- if a worker ends otherwise than as it was told to, or has a traceback in its log;
- if in the long outage a job is taken from a worker, or there is a dead letter that nobody planned;
- if a job of a killed worker runs again only after more than four leases with no other fault in the way or, where 50
  kills have none, more than one in a hundred of their jobs after more than two. A fault is in the way if it holds up
  the database, stops a worker or leaves it half-open connections, from a lease before the kill until two after it. None
  of these begins in the last fifth of a storm, but for those that come once more;
- if, from ten kills on, no handler is called within two seconds of PostgreSQL's being back, where it is not away again
  by then;
- if in any half hour, from the tenth minute on, the memory of a worker that is spared grows by more than a tenth;
- if it proves nothing: not every fault was injected as planned, no duplicate was refused, a type took no effect, the
  limited one never ran as many at once as it may or, from three kills on, no job was rescued; from ten on, none after a
  kill, or less than half of the running jobs that were to be canceled were; from a hundred on, fewer than ten kills had
  no other fault in the way, no job took effect under a lost lease, or no handler was interrupted at SIGTERM and its job
  given back.

A fault counts where it went by to its end; one whose worker was killed meanwhile comes once more. The database's files
are on the machine's disk without `fsync`: what is tested is the loss of processes and connections, not of the machine.
Clocks lie only on PostgreSQL, whose own clock is the one that counts; SQLite has none but its machine's.

A worker takes back others' jobs only when its own heartbeat has succeeded for a full lease
([why](hard-places.md#leases-and-fencing)). So in a storm, where the database goes away and rescuers are killed, too,
some jobs wait for longer than two leases. Of a worker's jobs that are lost for the third time the only one is a dead
letter; several may be started apart from each other, and then go to the end of their lanes
([why](hard-places.md#which-job-took-its-worker-down)): behind a long backlog they wait for as long as that takes.

## Beside storms

Connections are also lost one by one: that no job is lost then and none takes effect twice is shown by `tests/faults`,
which are among the tests of `make test-all`. What they and `make test-faults` play, and what these prove, says
[Contributing](../CONTRIBUTING.md#how-the-tests-are-laid-out).

The million below is older than [three tables](architecture.md#three-tables) for a job's life. Three millions since then
failed by these rules, all on 2026-12-02: at commit 52c99c6e, at 02adb371 with seed 174368, and at 7f67be82 with seed
20261203. On their two cores the load was 10 to 27; the third had no other work beside it, the first two had. No job was
lost, and none was missing in 121,000, 118,000 and 124,000 looks. No job was taken from a healthy worker, and no other
promise was broken. But of 10,762, 12,116 and 11,445 second effects 48, 28 and 14 counted as unexplained. Their fault
came too late: mostly 3 to 4 seconds after them, once 8, and in the third storm 3.0 to 3.4. The ends were not written
before. In the second storm two late effects counted as zombies. Their workers had met slow or half-open connections
until 4.4 s before, or 1.3 s, while PostgreSQL restarted three times. Nothing that a lost attempt wrote stood in the
database. A spared worker grew by 10.1 %, 11.1 % and 10.4 % in half an hour, up to 134, 128 and 132 MiB. In the third it
grew as faults ended and it ran more jobs, and no more in the last ten minutes. With no other fault
in the way 99 in a hundred jobs of killed workers ran again within 2.3 leases in the second storm, and 2.2 in the third;
two are the bound.

The third was judged twice. As it ended, its machine stood still for 46 s, and its time of day was set forward. Its
books were judged by the last look at both clocks, so all seemed to have come 46 s earlier than it had. The verdict
above is of the same rows and the same ledger, by the difference of before. Storms look at both clocks all the while
now.
"""
_MUST_BE_NONE: Final = {
    "lost": "lost",
    "duplicates without a cause": "duplicates",
    "zombies": "zombies",
    "taken from a healthy worker": "taken",
    "other promises broken": "broken",
}
_NOTHING: Final = "\nNo storm has gone by yet: `make storm`.\n"


def results() -> list[dict[str, Any]]:
    """Return all results, by database."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def page(found: Sequence[Mapping[str, Any]]) -> str:
    """The page's text."""
    if not found:
        return f"{_HEAD}{_NOTHING}{_RULES}"
    return "".join([_HEAD, _summary(found), _RULES, *map(_section, found)])


def _summary(found: Sequence[Mapping[str, Any]]) -> str:
    head = ("storm", "jobs", "faults", "effects twice, as a fault explains", *_MUST_BE_NONE)
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
        ("Ticks of schedules, a job each", f"{one['ticks']:,}"),
        ("Effects (what is canceled, or fails for good as planned, has none)", f"{one['effects']:,}"),
        ("Submissions refused as duplicates, as planned", f"{one['rejected']:,}"),
        ("Their like that were taken, as the job with their key had ended", f"{one['twins']:,}"),
        (f"Jobs at once of a type that is limited to {MOST_LIMITED}, at most", f"{one['limited']}"),
        ("Jobs that workers gave back as they were told to stop", f"{one['released']}"),
        ("Running jobs canceled", f"{one['stopped']}"),
        *([("Looks for submitted jobs amid the storm", f"{one['looks']:,}")] if "looks" in one else []),
        ("**Lost jobs**", f"**{one['lost']}**"),
        ("**Unexplained duplicates**", f"**{one['duplicates']}**"),
        ("**Zombies**", f"**{one['zombies']}**"),
        ("**Jobs taken from a healthy worker**", f"**{one['taken']}**"),
        ("**Other promises broken**", f"**{one['broken']}**"),
        *((f"Jobs rescued after {kind}", f"{count}") for kind, count in one["rescued"].items()),
        *((f"Duplicates explained by {kind}", f"{count}") for kind, count in one["explained"].items()),
        ("Effects under a lost lease, explained; nothing of theirs stands in the database", f"{one['late_effects']}"),
        ("Dead letters, as promised, of jobs under which faults took three workers away", f"{one['buried']}"),
    ]
    at = f" at commit {one['commit']}" if one.get("commit") else ""
    faults = [(kind, f"{count}") for kind, count in one["faults"].items()]
    return (
        f"\n## {_title(one)}\n\n"
        f"{one['measured_on']}, {where}, Fairlane {machine['fairlane']}{at}: {_workers(one)} with a lease of "
        f"{one['lease']:g} s, {one['seconds']:.0f} s, seed {one['seed']}.\n"
        "Its plan, as the code of that day makes it: "
        f'`make storm ARGS="--seed {one["seed"]} --database {one["database"]} '
        f'{_size(one)}"`.\n\n'
        f"{_table(('', ''), rows)}\n{_table(('injected', 'times'), faults)}\n{_recovery(one)}"
    )


def _title(one: Mapping[str, Any]) -> str:
    database = _NAMES[one["database"]]
    return f"{database}, {one['jobs']:,} jobs" if one["spared"] else database


def _workers(one: Mapping[str, Any]) -> str:
    more = f" and {one['spared']} that only the database's faults reach" if one["spared"] else ""
    return f"{one['workers']} workers{more}"


def _size(one: Mapping[str, Any]) -> str:
    size = "--long" if one["spared"] else f"--jobs {one['jobs']}"
    usual = profiles.full(one["database"], one["jobs"]).seconds
    # Figures from before storms could be stretched have no plan.
    return size if one.get("planned", usual) == usual else f"{size} --seconds {one['planned']:g}"


def _recovery(one: Mapping[str, Any]) -> str:
    lines, lease = [], one["lease"]
    kills = f"{one['undisturbed_kills']} kills"
    for what, name in (
        ("The jobs of a killed worker, but for those that were canceled meanwhile, ran again after", "recoveries"),
        (f"Those of {kills} with no other fault in the way until two leases later ran again after", "undisturbed"),
    ):
        if values := one[name]:
            p50, p99 = median(values), quantile(values, 0.99)
            lines.append(
                f"- {what} {p50:.2f} s (p50), {p99:.2f} s (p99) and at most {values[-1]:.2f} s, that is "
                f"{p50 / lease:.2f}, {p99 / lease:.2f} and {values[-1] / lease:.2f} leases ({len(values)} jobs)."
            )
    if gaps := one["gaps"]:
        late = sum(gap > PROMPT for gap in gaps)
        p50, p99 = median(gaps), quantile(gaps, 0.99)
        lines.append(
            f"- The fault that explains a duplicate came {p50:.2f} s (p50), {p99:.2f} s (p99) and at most "
            f"{gaps[-1]:.2f} s after the effect, and {late} time{'s' * (late != 1)} after more than {PROMPT:g} s, "
            "where something else had kept the worker from writing."
        )
    if suspects := one["suspects"]:
        lines.append(
            f"- {len(suspects)} more had lost a worker for the third time or more, and ran again after "
            f"{suspects[0]:.2f} to {suspects[-1]:.2f} s: such jobs may have taken it down, so several of one worker "
            "are started one after the other ([why](hard-places.md#which-job-took-its-worker-down))."
        )
    if claims := one["first_claims"]:
        lines.append(
            f"- When the database was back, the first handler was called after {min(claims):.2f} to "
            f"{max(claims):.2f} s ({len(claims)} times; where it went away again within two seconds it was not back)."
        )
    if outage := one["outage"]:
        lines.append(
            f"- In an outage of {outage['seconds']:g} s under load, jobs taken from workers: {outage['rescued']}; "
            f"dead letters that nobody planned: {outage['buried']}."
        )
    if one["memory"]:
        lines.append(_memory(**one["memory"]))
    listed = "\n".join(lines)
    return f"{listed}\n\n![How long a killed worker's jobs waited](charts/storm-{kept_as(one)}.png)\n"


def _memory(every: float, mib: Sequence[float], anonymous: Sequence[float]) -> str:
    """Return the memory of the warm worker and of the worker at the end: medians, as it goes up and down."""
    stretch, warm = (round(seconds / every) for seconds in (memory.STRETCH, memory.WARM))

    def told(looks: Sequence[float]) -> str:
        early, late = median(looks[warm - stretch : warm]), median(looks[-stretch:])
        told = f"{early:.0f} and {late:.0f} MiB, that is {late / early - 1:+.1%}, and {max(looks):.0f} MiB at most"
        grown = memory.growth(looks, every)
        since = f"from the {memory.WARM / 60:.0f}th on"
        return told + (f", {grown:+.1%} at most in 30 minutes {since}" if grown is not None else "")

    minutes, of = len(mib) * every / 60, memory.STRETCH / 60
    return (
        f"- The memory of a worker that was spared, without its child processes, in the {of:.0f} minutes until the "
        f"{memory.WARM / 60:.0f}th and in the last {of:.0f} of {minutes:.0f}: {told(mib)}; of these, what no file is "
        f"behind (`RssAnon`): {told(anonymous)}."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def draw(one: Mapping[str, Any]) -> None:
    """The share of a killed worker's jobs that ran again, by the time since the kill."""
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
