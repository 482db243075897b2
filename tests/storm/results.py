"""What is told of a storm, and what is kept of it: counts and times, as JSON."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from fairlane.cli.bench.machine import machine
from tests.storm.explain import PROMPT
from tests.storm.faults import DISTURBING, Fault, Injection
from tests.storm.handlers import JOB_TYPES, MOST_LIMITED
from tests.storm.memory import EVERY, Memory
from tests.storm.storm import Profile, Report
from tests.storm.verdict import Recovery

FOLDER: Final = Path(__file__).with_name("figures")
_SHOWN: Final = 20  # findings
# Leases until a killed worker's jobs run again with nothing else in the way: twice what is promised, as the storm keeps
# the machine busy.
LATEST: Final = 4.0
_WARM: Final = 600  # seconds
_MANY: Final = 10  # kills
_FULL: Final = 100


def document(database: str, report: Report) -> dict[str, Any]:
    """What is kept."""
    profile, verdict = report.profile, report.verdict
    return {
        "database": database,
        "measured_on": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "commit": commit(),
        "seed": report.seed,
        "jobs": profile.jobs,
        "seconds": round(report.seconds, 1),
        "workers": profile.workers,
        "spared": profile.spared,
        "lease": profile.lease,
        "submitted": report.submitted,
        "ticks": report.ticks,
        "rejected": report.rejected,
        "twins": report.twins,
        "limited": report.limited,
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
        "recoveries": _rounded(ran_again(report)),
        "suspects": _rounded(ran_again(report, suspects=True)),
        "undisturbed": _rounded(undisturbed(report.recoveries, report.injections, profile.lease)),
        "first_claims": _rounded(report.first_claims),
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
    """Of the code that is here; None: nobody knows."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def ran_again(report: Report, *, suspects: bool = False) -> list[float]:
    """After how many seconds the jobs of killed workers ran again, sorted: the suspects, or all others."""
    return sorted(one.seconds for one in report.recoveries if one.is_suspect is suspects)


def undisturbed(recoveries: Iterable[Recovery], injections: Iterable[Injection], lease: float) -> list[float]:
    """Seconds of recoveries from kills with nothing else in the way, sorted: a rescuer needs a steady database.

    What comes later than two leases after a kill, by when all is to run again, is not asked: it excuses nothing.
    """
    others = [one for one in injections if one.kind in DISTURBING]
    return sorted(
        seconds
        for kill, seconds, is_suspect in recoveries
        if not is_suspect and not any(_meet(kill.began - lease, kill.began + 2 * lease, one) for one in others)
    )


def _meet(began: float, ended: float, other: Injection) -> bool:
    return began <= other.ended and other.began <= ended


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values do not pass."""
    return values[min(len(values) - 1, int(len(values) * share))]


def late(recoveries: Iterable[Recovery], injections: Iterable[Injection], lease: float) -> list[float]:
    """Of the `undisturbed` ones those that took too long."""
    return [one for one in undisturbed(recoveries, injections, lease) if one > LATEST * lease]


def unproved(report: Report) -> Iterator[str]:
    """What a storm was to put to the test, and did not come to."""
    if report.counts != {fault: count for fault, count in planned(report.profile).items() if count}:
        yield "Not every fault was injected as often as planned."
    # A few may each meet a worker that has nothing to do.
    if report.counts[Fault.KILL] >= _MANY and not report.verdict.rescued[Fault.KILL]:
        yield "No job was rescued after a kill."
    ran_soon = undisturbed(report.recoveries, report.injections, report.profile.lease)
    if report.counts[Fault.KILL] >= _FULL and not ran_soon:
        yield "No killed worker's jobs ran again with no other fault in the way."
    if not report.rejected:
        yield "No duplicate was refused."
    if report.limited < MOST_LIMITED:
        yield "The limit of a type was never reached."
    yield from (f"No job of {one} took effect." for one in JOB_TYPES if not report.effects.get(one))


def planned(profile: Profile) -> Mapping[Fault, int]:
    """How often each fault is to be injected, with the long outage at the end."""
    return {**profile.faults, Fault.OUTAGE: int(profile.outage > 0)}


def failed(report: Report) -> bool:
    """Whether there is anything that must not be, or something is not proved."""
    is_late = late(report.recoveries, report.injections, report.profile.lease)
    is_wrong = report.verdict.findings or report.crashes or any(report.outage.values()) or is_late
    return bool(is_wrong or list(unproved(report)))


def command(database: str, seed: int, size: str = "") -> str:
    """What runs it again."""
    return f'make storm ARGS="--seed {seed} --database {database}{size and " "}{size}"'


def told(report: Report) -> Iterator[str]:
    """Lines for people."""
    verdict, lease = report.verdict, report.profile.lease
    yield f"{report.submitted:,} jobs submitted, {report.ticks:,} by schedules, in {report.seconds:.0f} s."
    yield f"{sum(report.effects.values()):,} effects."
    yield "Injected: " + ", ".join(f"{count} × {fault}" for fault, count in report.counts.items())
    counts = {"Lost": verdict.lost, "unexplained duplicates": verdict.duplicates, "zombies": verdict.zombies}
    counts |= {"taken from a living worker": verdict.taken, "other promises broken": verdict.broken}
    yield ", ".join(f"{name}: {len(found)}" for name, found in counts.items()) + "."
    yield f"Under the key of another job: {report.rejected} refused, {report.twins} taken."
    yield f"Of the limited type ran at once, at most: {report.limited} of {MOST_LIMITED}."
    explained = ", ".join(f"{count} by {kind}" for kind, count in verdict.explained.items()) or "none"
    yield f"Duplicates that a fault explains: {explained}. Late effects that one explains: {verdict.late_effects}."
    if verdict.gaps:
        slow = sum(one > PROMPT for one in verdict.gaps)
        yield f"The fault came at most {max(verdict.gaps):.2f} s after the effect, {slow} times after {PROMPT:g} s."
    rescued = ", ".join(f"{count} by {kind}" for kind, count in verdict.rescued.items()) or "none"
    yield f"Rescues that a fault explains: {rescued}."
    yield f"Buried as faults took three workers away under them: {len(verdict.buried)}."
    for name, values in (
        ("A killed worker's jobs ran again after", ran_again(report)),
        ("… with no other fault in the way", undisturbed(report.recoveries, report.injections, lease)),
        ("Those that were lost for the third time, which may wait apart", ran_again(report, suspects=True)),
    ):
        if values:
            p99 = quantile(values, 0.99)
            most = f"at most {values[-1]:.2f} s = {values[-1] / lease:.2f} leases ({len(values)} jobs)"
            yield f"{name}: p50 {median(values):.2f} s, p99 {p99:.2f} s = {p99 / lease:.2f} leases, {most}."
    if too_late := late(report.recoveries, report.injections, lease):
        yield f"Too late with no other fault in the way, after more than {LATEST:g} leases: {len(too_late)} jobs."
    if report.first_claims:
        yield f"First claim after the database was back: {', '.join(f'{one:.2f}' for one in report.first_claims)} s."
    if report.outage:
        yield f"In the long outage: {report.outage}."
    if report.memory:
        yield f"The spared worker's memory: {_told(report.memory)}."
    yield from (f"{one.what}: job {one.job} {one.why}" for one in verdict.findings[:_SHOWN])
    yield from report.crashes
    yield from unproved(report)


def injected(report: Report, since: float = 0.0) -> Iterator[str]:
    """A line for each fault, on the ledger's clock, from `since` on."""
    for one in sorted(report.injections, key=lambda one: one.began):
        cut = ", cut short" * one.is_cut
        yield f"{one.began - since:.3f} to {one.ended - since:.3f}: {one.kind} {one.worker}".rstrip() + cut


def _told(looks: Sequence[Memory]) -> str:
    """Once it had warmed up, and in the end; the first look counts if the storm was shorter."""
    early = looks[round(_WARM / EVERY)] if len(looks) * EVERY > _WARM else looks[0]
    after = _WARM / 60 if early is not looks[0] else 0
    return (
        f"{early.resident:.0f} MiB after {after:.0f} minutes, {early.anonymous:.0f} of them anonymous, "
        f"{looks[-1].resident:.0f} MiB in the end, {looks[-1].anonymous:.0f} of them anonymous"
    )


def kept_as(kept: Mapping[str, Any]) -> str:
    """What a storm's figures are kept under: each database has one, and one that is long."""
    return f"{kept['database']}-long" if kept["spared"] else str(kept["database"])


def save(database: str, report: Report, out: Path | None = None) -> None:
    """Keep it."""
    kept = document(database, report)
    path = out or FOLDER / f"{kept_as(kept)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
