"""A storm: jobs of all kinds are submitted to real workers, faults are injected, and then the books are checked."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import parse_qs, urlsplit

from fairlane import Fairlane, Settings, StorageUnavailable
from fairlane.domain.statuses import JobStatus
from tests.engine.worker_outages import own_server
from tests.storm import clock, evidence, folder, ledger, memory, promises, schedules, verdict
from tests.storm.clocks import Clocks, compared
from tests.storm.explain import Faults
from tests.storm.faults import Fault, Injection, plan
from tests.storm.feeder import Feeder
from tests.storm.fleet import Fleet, Slot
from tests.storm.handlers import LIMITED, MOST_LIMITED, SOONEST, register
from tests.storm.injections import Site, away, inject
from tests.storm.ledger import Entry
from tests.storm.looker import Looker
from tests.storm.memory import Memory
from tests.storm.proxy import Proxy
from tests.storm.schedules import Ended, Made
from tests.storm.verdict import Expected, Recovery, Stored, Verdict
from tests.storm.work import ORGANIZATIONS

_LOOK: Final = 0.1  # seconds
_REST: Final = 50  # times what a look took, before the next one
_SETTLING: Final = 60.0  # seconds without an end after which those that are left are taken for lost
_PORT: Final = 5432
_OUTAGE_LEADS: Final = 2.0  # seconds under load before the outage, and after it


@dataclass(frozen=True, slots=True)
class Profile:
    """The size of a storm. Seconds: of the storm, of the lease, of the long outage at its end.

    `spared`: more workers, which meet only faults of the database. The memory of the last is watched.
    """

    jobs: int
    seconds: float
    faults: Mapping[Fault, int]
    workers: int = 4
    concurrency: int = 16
    lease: float = 5.0
    outage: float = 0.0
    spared: int = 0


@dataclass(slots=True)
class Report:
    """The outcome of a storm.

    `ticks`: of schedules, each of which became a job. `rejected`, `twins`: of the jobs under another's key, those that
    were refused and those that were taken. `limited`: jobs of the limited type that ran at once, at most. `released`:
    jobs that workers gave back as they were told to stop, `interrupted`: those of them whose handler had begun.
    `looks`: how often somebody looked for a job, and the database answered. `asked`, `stopped`: running jobs that were
    to be canceled, and were. `effects`: by job type. `outage`: jobs taken from workers in the long one, and dead
    letters that nobody planned. `memory`: of a spared worker, each `memory.EVERY` seconds.
    """

    seed: int
    profile: Profile
    submitted: int
    ticks: int
    rejected: int
    twins: int
    limited: int
    released: int
    interrupted: int
    asked: int
    stopped: int
    effects: Mapping[str, int]
    seconds: float
    injections: list[Injection]
    verdict: Verdict
    recoveries: list[Recovery]
    first_claims: list[float]
    crashes: list[str]
    looks: int = 0
    outage: dict[str, int] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)

    @property
    def counts(self) -> Counter[Fault]:
        """Return how often each fault was injected, and not cut short."""
        return Counter(one.kind for one in self.injections if not one.is_cut)


def run(database: str, profile: Profile, seed: int, directory: Path) -> Report:
    """Let a storm go by.

    Args:
        database: "postgresql" or "sqlite".
        directory: an empty folder for all that it leaves; root's PostgreSQL runs as another user, who has to enter.
    """
    random = Random(seed)
    with ExitStack() as stack:
        server = stack.enter_context(own_server(directory / "server")) if database == "postgresql" else None
        url = server.url if server is not None else f"sqlite:///{directory / 'jobs.db'}"
        fl = stack.enter_context(_application(url, _files(directory)))
        workers = profile.workers + profile.spared
        proxies = [stack.enter_context(Proxy(_socket(url)).running()) for _ in range(workers) if server]
        site = Site(_fleet(profile, url, directory, proxies), url, directory, profile.lease, server, proxies)
        began, clocks = time.monotonic(), stack.enter_context(compared())
        with site.fleet.running(), _memory(site.fleet, profile) as taken:
            feeder = Feeder(fl, random, profile.jobs, profile.seconds + profile.outage + _OUTAGE_LEADS)
            looker = Looker(fl, feeder.taken, Random(seed))
            with looker.running():
                firsts = schedules.put(fl)
                injections, outage = _blow(site, profile, feeder, random)
                ended = schedules.end(fl, firsts)
                _settle(fl)
        seconds = time.monotonic() - began
        report = _report(fl, profile, seed, feeder, ended, injections, outage, seconds, site, clocks)
        report.verdict.lost += looker.lost
        return replace(report, memory=taken, looks=looker.looks)


@contextmanager
def _application(url: str, artifacts_url: str) -> Iterator[Fairlane]:
    with Fairlane(Settings(url=url, artifacts_url=artifacts_url)) as fl:
        register(fl)
        fl.migrate()
        for organization in ORGANIZATIONS:
            fl.organizations.create(organization)
        yield fl


def _files(directory: Path) -> str:
    return (directory / "artifacts").as_uri()


def _socket(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0]) / f".s.PGSQL.{_PORT}"


def _memory(fleet: Fleet, profile: Profile) -> AbstractContextManager[list[Memory]]:
    return memory.watched(fleet.pid) if profile.spared else nullcontext([])


def _fleet(profile: Profile, url: str, directory: Path, proxies: list[Proxy]) -> Fleet:
    slots = []
    for number in range(profile.workers + profile.spared):
        port = proxies[number].port if proxies else 0
        through = f"postgresql://postgres@127.0.0.1:{port}/postgres?application_name={{worker}}"
        slots.append(Slot(number, through if proxies else url, directory / f"clock-{number}"))
        clock.shift(slots[-1].clock, 0)
    settings = {
        "FAIRLANE_LEASE": str(profile.lease),
        "FAIRLANE_ARTIFACTS_URL": _files(directory),
    }
    library = clock.build(directory) if profile.faults.get(Fault.CLOCK) else None
    return Fleet(directory, slots, settings, profile.concurrency, library)


def _blow(site: Site, profile: Profile, feeder: Feeder, random: Random) -> tuple[list[Injection], dict[str, int]]:
    """Inject what is planned while jobs are submitted; wait for both."""
    planned = plan(Random(random.random()), profile.faults, profile.seconds, profile.workers)
    for slot in range(profile.workers + profile.spared):
        site.fleet.up(slot)
    outage: dict[str, int] = {}
    with ThreadPoolExecutor(max(len(planned), 1) + 1, thread_name_prefix="storm") as threads:
        feeding = threads.submit(feeder.run)
        try:
            began, injected = time.monotonic(), list[Future[list[Injection]]]()
            for one in planned:
                _wait(site, began + one.at, feeding)
                injected.append(threads.submit(inject, site, one))
            injections = [each for one in injected for each in one.result()]
            if profile.outage:
                injections.append(_long_outage(site, profile, feeder, outage))
            feeding.result()
        finally:
            feeder.stop.set()
            site.is_over.set()
    return injections, outage


def _wait(site: Site, until: float, feeding: "Future[None]") -> None:
    site.is_over.wait(max(0.0, until - time.monotonic()))
    if feeding.done():
        feeding.result()  # raises what ended it


def _long_outage(site: Site, profile: Profile, feeder: Feeder, outage: dict[str, int]) -> Injection:
    """Inject the long outage when all workers are up and no earlier loss is left to be rescued."""
    for slot in range(profile.workers):
        site.fleet.up(slot)
    site.is_over.wait(3 * profile.lease)
    since = datetime.now(UTC)
    injection = away(site, Fault.OUTAGE, profile.outage)
    # By then a rescuer that took jobs from living workers would have had the time to.
    site.is_over.wait(3 * profile.lease)
    outage["rescued"] = evidence.rescued(feeder.fl, since)
    return injection


def rest(took: float) -> float:
    """Return the seconds until the next count of the jobs that are left, which took so many seconds.

    To count a million is as slow as many jobs. A count that failed must not put off the next one without an end.
    """
    return min(max(_LOOK, _REST * took), _SETTLING / 4)


def _settle(fl: Fairlane) -> None:
    """Wait until every job has ended, or none has for a long time."""
    left, since, waiting, took = -1, time.monotonic(), threading.Event(), 0.0
    while left != 0 and time.monotonic() - since < _SETTLING:
        waiting.wait(rest(took))
        with suppress(StorageUnavailable):
            began = time.monotonic()
            before, left = left, evidence.unfinished(fl)
            took = time.monotonic() - began
            since = since if left == before else time.monotonic()


def _report(
    fl: Fairlane,
    profile: Profile,
    seed: int,
    feeder: Feeder,
    ended: list[Ended],
    injections: list[Injection],
    outage: dict[str, int],
    seconds: float,
    site: Site,
    clocks: Clocks,
) -> Report:
    stored, ticks, released = evidence.stored(fl, clocks), evidence.of_ticks(fl), evidence.released(fl)
    # Of what nobody answered for, that which is there was submitted.
    unsure = {job: end for batch in feeder.unsure for job, end in batch.items()}
    submitted = feeder.expected | {job: end for job, end in unsure.items() if job in stored}
    expected = submitted | {job: Expected.COMPLETED for jobs in ticks.values() for job in jobs}
    entries = list(ledger.read(site.directory))
    found = verdict.judge(expected, entries, Faults(injections, profile.lease), stored)
    found.zombies += [*evidence.foreign_writes(fl), *evidence.illegal_steps(fl)]
    found.lost += [*evidence.lost_outputs(fl), *evidence.misplaced(fl)]
    _judge_ticks(found, ended, ticks)
    found.broken += promises.before_time(feeder.due | evidence.moments(ticks, clocks), entries, stored, SOONEST)
    limited = _judge_promises(fl, found, feeder, entries, stored, clocks)
    if outage:
        outage["buried"] = _unplanned(found, expected, stored)
    return Report(
        seed=seed,
        profile=profile,
        submitted=len(submitted),
        ticks=len(ticks),
        rejected=feeder.rejected,
        twins=sum(one.job in stored for one in feeder.twins),
        limited=limited,
        released=len(released),
        interrupted=_count_begun(entries, released),
        asked=feeder.asked,
        stopped=evidence.stopped(fl),
        effects=Counter(entry.job_type for entry in entries if entry.kind is ledger.Kind.EFFECT),
        seconds=seconds,
        injections=injections,
        verdict=found,
        recoveries=verdict.recoveries(entries, [one for one in injections if one.kind is Fault.KILL], stored),
        first_claims=verdict.first_claims(entries, injections),
        crashes=[*promises.crashes(site.fleet.exits, injections), *folder.tracebacks(site.directory)],
        outage=outage,
    )


def _count_begun(entries: Iterable[Entry], attempts: set[tuple[str, int]]) -> int:
    return sum(one.kind is ledger.Kind.BEGIN and (one.job, one.attempt) in attempts for one in entries)


def _unplanned(found: Verdict, expected: Mapping[str, Expected], stored: Mapping[str, Stored]) -> int:
    """Return how many dead letters were neither planned nor promised."""
    return sum(
        expected.get(job) is not Expected.DEAD and one.status is JobStatus.DEAD_LETTER and job not in found.buried
        for job, one in stored.items()
    )


def _judge_ticks(found: Verdict, ended: list[Ended], ticks: Made) -> None:
    found.lost += schedules.lost(ended, ticks)
    found.duplicates += schedules.duplicates(ticks)
    found.broken += schedules.unasked(ended, ticks)


def _judge_promises(
    fl: Fairlane, found: Verdict, feeder: Feeder, entries: list[Entry], stored: Mapping[str, Stored], clocks: Clocks
) -> int:
    """Judge what else is promised; how many of the limited type ran at once."""
    found.lost += promises.halves(feeder.unsure, stored)
    found.duplicates += promises.double(feeder.twins, stored)
    found.broken += promises.too_early(feeder.parents, entries, stored)
    found.broken += promises.mistaken(entries, stored)
    ways = (evidence.runs(fl, LIMITED, clocks), promises.of_ledger(entries, LIMITED, stored))
    counted = [promises.most_at_once(runs) for runs in ways]
    found.broken += promises.beyond(MOST_LIMITED, LIMITED, counted)
    return max(counted)
