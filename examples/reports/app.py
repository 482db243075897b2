"""The job types of the example. Each handler is thin: it takes from the context, calls a plain function, stores what
came out. `fairlane --app examples.reports.app:fl worker` runs them; FAIRLANE_URL says where the jobs are.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from examples.reports.flaky import ServiceUnavailable, fetch_rates
from examples.reports.importing import check, read_data, read_records, why_unusable
from examples.reports.packing import Entry, pack
from examples.reports.scanning import block, chained
from examples.reports.series import Series, from_csv, to_csv
from examples.reports.trend import RESAMPLES, resampled_slopes, trend
from fairlane import Fairlane, JobContext, PermanentError, TransientError

CLEANED = "cleaned.csv"
REPORT = "report.pdf"

fl = Fairlane()

# Deduplication is off throughout (dedup_window=0): two thumbnail jobs have the same parameters, none, and differ in
# their parents only; and a user who interrupts the demo may start it again on the same database at once.


@contextmanager
def needs_demo_packages() -> Iterator[None]:
    """Refuse a failed late import in a sentence: only who renders needs these packages."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise PermanentError(f"{error.name} is not installed; `make demo` installs it") from error


def artifact_of_parents(ctx: JobContext, name: str) -> bytes:
    """Return the artifact of this name that a parent left."""
    for parent in ctx.parents:
        if name in parent.artifacts:
            return parent.artifact(name)
    raise PermanentError(f"no parent left {name!r}: submit this job with depends_on")


@fl.job_type("csv.import", isolation="thread", dedup_window=0)
def import_csv(ctx: JobContext, file: str) -> dict[str, object]:
    """Keep the good rows of a file as an artifact and report each bad one; a file without a good row is refused."""
    try:
        measure, records = read_records(read_data(file))
    except ValueError as error:
        raise PermanentError(str(error)) from error
    checked = check(measure, ctx.track(records, total=len(records)))
    for bad in checked.bad:
        ctx.log(f"{file}, {bad}")
    if (reason := why_unusable(checked)) is not None:
        raise PermanentError(f"{file}: {reason}")
    ctx.artifact(CLEANED, to_csv(checked.series))
    return {"measure": measure, "rows": len(checked.series.rows), "bad_rows": [asdict(bad) for bad in checked.bad]}


def watched_slopes(ctx: JobContext, series: Series) -> Iterator[float]:
    """Yield the resampled slopes, as the first half of a report's progress."""
    for number, slope in enumerate(resampled_slopes(series)):
        if number % 250 == 0:  # now and then: also where a cancel gets through
            ctx.progress(50 * number // RESAMPLES, f"trend, {number} of {RESAMPLES} resamples")
        yield slope


@fl.job_type("report.render", isolation="thread", dedup_window=0)
def render_report(ctx: JobContext, firm: str, title: str, accent: str = "#1f4e79") -> dict[str, int]:
    """Make a PDF of the rows that the parent imported."""
    with needs_demo_packages():
        from examples.reports.rendering import Report, render_pdf  # noqa: PLC0415

    def on_page(page: int, pages: int) -> None:
        ctx.progress(50 + 50 * (page - 1) // pages, f"page {page} of {pages}")

    series = from_csv(artifact_of_parents(ctx, CLEANED))
    report = Report(firm, title, accent, series, trend(series, watched_slopes(ctx, series)))
    pdf = render_pdf(report, on_page)
    ctx.artifact(REPORT, pdf)
    return {"pages": report.pages, "rows": len(report.series.rows), "size": len(pdf)}


# A process of its own: pdfium must not be called from two threads, and a crash in it would take the worker along.
@fl.job_type("report.thumbnails", isolation="process", dedup_window=0)
def make_thumbnails(ctx: JobContext) -> dict[str, int]:
    """Make a PNG of each page of the parent's PDF."""
    with needs_demo_packages():
        from examples.reports.thumbnails import page_count, thumbnails  # noqa: PLC0415

    pdf = artifact_of_parents(ctx, REPORT)
    pages = page_count(pdf)
    for page, png in enumerate(ctx.track(thumbnails(pdf), total=pages), start=1):
        ctx.artifact(f"page-{page}.png", png)
    return {"pages": pages}


@fl.job_type("reports.pack", isolation="thread", dedup_window=0)
def pack_reports(ctx: JobContext) -> dict[str, int]:
    """Put all that the parents left into one ZIP, in a folder for each report."""
    entries = [
        Entry(parent.labels.get("report", str(parent.id)), name, parent.artifact(name))
        for parent in ctx.track(ctx.parents, total=len(ctx.parents))
        for name in parent.artifacts
    ]
    archive = pack(entries)
    ctx.artifact("reports.zip", archive)
    return {"files": len(entries), "size": len(archive)}


@fl.job_type("rates.fetch", isolation="async", backoff=[0.5, 0.5, 1, 2, 4], dedup_window=0)
async def fetch(ctx: JobContext, url: str) -> dict[str, float]:
    """Fetch the rates from a service that is down at first; the backoff is short so that people see it recover."""
    ctx.log(f"attempt {ctx.attempt}: asking {url}")
    try:
        return await asyncio.to_thread(fetch_rates, url)  # urllib blocks, the event loop must not
    except ServiceUnavailable as error:
        raise TransientError(str(error)) from error


@fl.job_type("archive.scan", isolation="async", dedup_window=0)
async def scan_archive(ctx: JobContext, blocks: int) -> dict[str, object]:
    """Checksum an archive. A cancel reaches it at any sleep; nothing is left half done, so there is nothing to undo."""
    checksum = ""
    for number in range(1, blocks + 1):
        checksum = chained(checksum, block(number))
        ctx.progress(100 * number // blocks, f"block {number} of {blocks}")
        await ctx.sleep(0.1)  # the pace of an archive on tape
    return {"blocks": blocks, "checksum": checksum}
