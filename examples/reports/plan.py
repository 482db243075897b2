"""The demo's plan, as data: three firms, their members, their jobs, and the status in which each job should end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from examples.reports.verdict import Planned
from fairlane import Fairlane, JobStatus, OrganizationNotFound, Priority

SCAN_BLOCKS: Final = 160  # 0.1 s each: half of them last a little longer than all the rest of the plan
CANCEL_AT: Final = 50  # percent


@dataclass(frozen=True, slots=True)
class Report:
    """A report that a firm wants: the file it comes from and what its title page says."""

    file: str
    title: str

    @property
    def name(self) -> str:
        return self.file.removesuffix(".csv")


@dataclass(frozen=True, slots=True)
class Firm:
    """An organization and its wishes. Members take turns with the reports; the first does the rest."""

    id: str
    name: str
    members: tuple[str, ...]
    accent: str
    reports: tuple[Report, ...]
    hopeless: str | None = None  # a file that can't be imported
    scans_archive: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A job to submit. `after` names steps of the same firm that come before it."""

    name: str
    job_type: str
    user: str
    parameters: dict[str, object] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    expected: JobStatus = JobStatus.COMPLETED
    cancel_at: int | None = None


SUNSPOTS: Final = Report("sunspots.csv", "Three centuries of sunspots")
CO2: Final = Report("co2.csv", "Carbon dioxide on Mauna Loa")
EL_NINO: Final = Report("elnino.csv", "The warmth of El Niño")
NILE: Final = Report("nile.csv", "A century of the Nile")
NILE_BROKEN: Final = Report("nile-broken.csv", "The Nile, as typed by hand")

FIRMS: Final = (
    Firm(
        "tern-observatory", "Tern Island Observatory", ("ada", "johann"), "#1f4e79", (SUNSPOTS, CO2), scans_archive=True
    ),
    Firm(
        "reed-waterworks",
        "Reed & Daughters Waterworks",
        ("miriam",),
        "#1b6b5a",
        (NILE, NILE_BROKEN),
        hopeless="minutes.csv",
    ),
    Firm("gale-insurance", "Gale Mutual Insurance", ("ines", "otto"), "#8a3b2a", (EL_NINO, CO2, SUNSPOTS)),
)


def steps(firm: Firm, rates_url: str) -> Iterator[Step]:
    """Return the firm's jobs, parents before their children."""
    chief = firm.members[0]
    yield Step("rates", "rates.fetch", chief, {"url": rates_url}, priority=Priority.HIGH)
    if firm.scans_archive:
        yield Step(
            "archive",
            "archive.scan",
            chief,
            {"blocks": SCAN_BLOCKS},
            expected=JobStatus.CANCELED,
            cancel_at=CANCEL_AT,
        )
    if firm.hopeless:
        yield Step("hopeless", "csv.import", chief, {"file": firm.hopeless}, expected=JobStatus.DEAD_LETTER)
    for number, report in enumerate(firm.reports):
        yield from _report_steps(firm, report, firm.members[number % len(firm.members)])
    packed = tuple(f"{step} {report.name}" for report in firm.reports for step in ("render", "thumbnails"))
    yield Step("pack", "reports.pack", chief, after=packed)


def _report_steps(firm: Firm, report: Report, user: str) -> Iterator[Step]:
    labels = {"report": report.name}
    imported, rendered = f"import {report.name}", f"render {report.name}"
    page: dict[str, object] = {"firm": firm.name, "title": report.title, "accent": firm.accent}
    yield Step(imported, "csv.import", user, {"file": report.file}, labels=labels)
    yield Step(rendered, "report.render", user, page, after=(imported,), labels=labels)
    yield Step(f"thumbnails {report.name}", "report.thumbnails", user, after=(rendered,), labels=labels)


def ensure_firms(fl: Fairlane) -> None:
    """Create the organizations that are missing, with their members. One that exists is an earlier demo's, complete."""
    for firm in FIRMS:
        try:
            fl.organizations.get(firm.id)
        except OrganizationNotFound:
            fl.organizations.create(firm.id, name=firm.name)
            for user in firm.members:
                fl.members.add(firm.id, user, role="member")


def submit_all(fl: Fairlane, service_url: str) -> list[Planned]:
    """Submit every job of every firm; `service_url` is a `FlakyService`'s, each firm being a key of it."""
    ensure_firms(fl)
    return [planned for firm in FIRMS for planned in _submit(fl, firm, f"{service_url}/{firm.id}")]


def _submit(fl: Fairlane, firm: Firm, rates_url: str) -> Iterator[Planned]:
    ids: dict[str, UUID] = {}
    for step in steps(firm, rates_url):
        job = fl.submit(
            step.job_type,
            organization=firm.id,
            user=step.user,
            parameters=step.parameters,
            depends_on=[ids[name] for name in step.after],
            labels=step.labels,
            priority=step.priority,
        )
        ids[step.name] = job.id
        yield Planned(job.id, firm.id, step.user, step.name, step.job_type, step.expected, step.cancel_at)
