"""The report of a storm for people, and its kept form: counts and times, as JSON."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.machine import machine
from tests.storm.bounds import kills_of, missed, quantile, undisturbed, unproved
from tests.storm.explain import PROMPT
from tests.storm.faults import Fault
from tests.storm.handlers import MOST_LIMITED
from tests.storm.memory import EVERY, Memory, growths
from tests.storm.storm import Report
from tests.storm.verdict import Recovery

FOLDER: Final = Path(__file__).with_name("figures")
_SHOWN: Final = 20  # findings


def document(database: str, report: Report) -> dict[str, Any]:
    """Return the kept form of the report."""
    profile, verdict = report.profile, report.verdict
    alone = undisturbed(report.recoveries, report.injections, profile.lease)
    return {
        "database": database,
        "measured_on": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "commit": commit(),
        "seed": report.seed,
        "jobs": profile.jobs,
        "planned": profile.seconds,
        "seconds": round(report.seconds, 1),
        "workers": profile.workers,
        "spared": profile.spared,
        "lease": profile.lease,
        "submitted": report.submitted,
        "ticks": report.ticks,
        "rejected": report.rejected,
        "twins": report.twins,
        "limited": report.limited,
        "released": report.released,
        "stopped": report.stopped,
        "looks": report.looks,
        "effects": sum(report.effects.values()),
        "lost": len(verdict.lost),
        "duplicates": len(verdict.duplicates),
        "zombies": len(verdict.zombies),
        "taken": len(verdict.taken),
        "broken": len(verdict.broken),
        "explained": dict(verdict.explained),
        "gaps": _rounded(sorted(verdict.gaps)),
        "rescued": dict(verdict.rescued),
        "late_effects": verdict.late_effects,
        "buried": len(verdict.buried),
        "faults": {fault.value: report.counts[fault] for fault in Fault if report.counts[fault]},
        "injections": list(injected(report, since=min((one.began for one in report.injections), default=0.0))),
        "recoveries": _rounded(_seconds(one for one in report.recoveries if not one.is_suspect)),
        "suspects": _rounded(_seconds(one for one in report.recoveries if one.is_suspect)),
        "undisturbed": _rounded(_seconds(alone)),
        "undisturbed_kills": len(kills_of(alone)),
        "first_claims": _rounded(one for one in report.first_claims if one < inf),
        "outage": {"seconds": profile.outage, **report.outage} if profile.outage else None,
        "memory": _memory(report.memory) if report.memory else None,
    }


def _memory(looks: Sequence[Memory]) -> dict[str, Any]:
    return {
        "every": EVERY,
        "mib": [round(one.resident, 1) for one in looks],
        "anonymous": [round(one.anonymous, 1) for one in looks],
    }


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(one, 3) for one in values]


def commit() -> str | None:
    """Return the commit of this code, or None if nobody knows."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _seconds(recoveries: Iterable[Recovery]) -> list[float]:
    return sorted(one.seconds for one in recoveries)


def command(database: str, seed: int, size: str = "") -> str:
    """Return the command that runs it again."""
    return f'make storm ARGS="--seed {seed} --database {database}{size and " "}{size}"'


def told(report: Report) -> Iterator[str]:
    """Lines for people."""
    verdict, lease = report.verdict, report.profile.lease
    suspects = [one for one in report.recoveries if one.is_suspect]
    yield f"{report.submitted:,} jobs submitted, {report.ticks:,} by schedules, in {report.seconds:.0f} s."
    yield f"{sum(report.effects.values()):,} effects."
    yield "Injected: " + ", ".join(f"{count} × {fault}" for fault, count in report.counts.items())
    counts = {"Lost": verdict.lost, "unexplained duplicates": verdict.duplicates, "zombies": verdict.zombies}
    counts |= {"taken from a healthy worker": verdict.taken, "other promises broken": verdict.broken}
    yield ", ".join(f"{name}: {len(found)}" for name, found in counts.items()) + "."
    yield f"Under the key of another job: {report.rejected} refused, {report.twins} taken."
    yield f"Of the limited type ran at once, at most: {report.limited} of {MOST_LIMITED}."
    yield f"Given back at SIGTERM: {report.released}, {report.interrupted} of them amid their handler."
    yield f"Running jobs canceled: {report.stopped} of {report.asked} that were to be."
    yield f"Looks at jobs amid the storm: {report.looks:,}."
    explained = ", ".join(f"{count} by {kind}" for kind, count in verdict.explained.items()) or "none"
    yield f"Duplicates that a fault explains: {explained}. Late effects that one explains: {verdict.late_effects}."
    if verdict.gaps:
        slow = sum(one > PROMPT for one in verdict.gaps)
        yield f"The fault came at most {max(verdict.gaps):.2f} s after the effect, {slow} times after {PROMPT:g} s."
    rescued = ", ".join(f"{count} by {kind}" for kind, count in verdict.rescued.items()) or "none"
    yield f"Rescues that a fault explains: {rescued}."
    yield f"Dead letters, as promised, as faults took three workers away under them: {len(verdict.buried)}."
    for name, recoveries in (
        ("A killed worker's jobs ran again after", [one for one in report.recoveries if not one.is_suspect]),
        ("… with no other fault in the way", undisturbed(report.recoveries, report.injections, lease)),
        ("Those that were lost for the third time, which may wait apart", suspects),
    ):
        if values := _seconds(recoveries):
            p99 = quantile(values, 0.99)
            most = f"at most {values[-1]:.2f} s = {values[-1] / lease:.2f} leases ({len(values)} jobs)"
            yield f"{name}: p50 {median(values):.2f} s, p99 {p99:.2f} s = {p99 / lease:.2f} leases, {most}."
    if report.first_claims:
        yield f"First claim after the database was back: {', '.join(f'{one:.2f}' for one in report.first_claims)} s."
    if report.outage:
        yield f"In the long outage: {report.outage}."
    if report.memory:
        yield f"The spared worker took {report.memory[-1].resident:.0f} MiB in the end."
        if (grown := growths(report.memory)) is not None:
            resident, anonymous = grown
            yield f"It grew at most {resident:+.1%} in half an hour, and {anonymous:+.1%} of what no file is behind."
    yield from (f"{one.what}: job {one.job} {one.why}" for one in verdict.findings[:_SHOWN])
    yield from (*report.crashes, *missed(report), *unproved(report))


def injected(report: Report, since: float = 0.0) -> Iterator[str]:
    """A line for each fault, on the ledger's clock, from `since` on."""
    for one in sorted(report.injections, key=lambda one: one.began):
        cut = ", cut short" * one.is_cut
        yield f"{one.began - since:.3f} to {one.ended - since:.3f}: {one.kind} {one.worker}".rstrip() + cut


def kept_as(kept: Mapping[str, Any]) -> str:
    """Return the name under which a storm's figures are kept: each database has one, and one for long storms."""
    return f"{kept['database']}-long" if kept["spared"] else str(kept["database"])


def save(database: str, report: Report, out: Path | None = None) -> None:
    """Keep it."""
    kept = document(database, report)
    path = out or FOLDER / f"{kept_as(kept)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
