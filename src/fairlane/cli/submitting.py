"""`fairlane jobs submit`, and the wait for a job's end with its progress."""

import json
import math
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from fairlane import FairlaneError, InvalidParameters, Job, JobStatus, ParentPolicy, Priority
from fairlane.cli import options as o
from fairlane.cli.lookup import find_id, refuse_stranger, refuse_unknown
from fairlane.cli.output import console, number_of, plain, print_json, remark, say, short
from fairlane.cli.session import engine
from fairlane.domain.arguments import INHERIT
from fairlane.domain.reasons import ReasonCode
from fairlane.domain.redact import REDACTED
from fairlane.domain.statuses import TERMINAL, WAITING
from fairlane.domain.timing import SLOWEST_LOOK
from fairlane.jobtypes.options import OnDuplicate

if TYPE_CHECKING:
    from fairlane import Explanation, Fairlane

_LONG_WAIT = 2.0  # seconds before a wait is explained
_EXPLAINED_EVERY = 5.0  # seconds between later explanations: the reason may change
# A running claim holds a limit for a moment.
_STARTS_SOON: Final = {ReasonCode.BEING_MADE_READY, ReasonCode.NOTHING_BLOCKS, ReasonCode.LIMIT_HELD}
# Examples of values that are neither JSON nor free text.
_WRITTEN: Final = {"a date": "2026-11-01", "a datetime": "2026-11-01T08:00+01:00", "a time": "08:00"}
_FIRST_LOOK = 0.05  # seconds between the first two looks at the job


def submit(
    context: typer.Context,
    job_type: o.TypeArgument,
    organization: o.Organization,
    user: o.User = None,
    parameter: o.Parameter = None,
    parameters: Annotated[str | None, typer.Option(metavar="JSON", help="All parameters, as a JSON object.")] = None,
    priority: Annotated[Priority | None, typer.Option(help="How urgent it is within the organization.")] = None,
    delay: Annotated[str | None, typer.Option(metavar="TIME", help="Not before: 90s, 5m, 1h30m, 2d.")] = None,
    run_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Not before: 2026-11-01T08:00 in this machine's zone, or …+01:00."),
    ] = None,
    depends_on: Annotated[
        list[str] | None, typer.Option(metavar="JOB", help="Wait for this job's end; may be repeated.")
    ] = None,
    on_parent_failure: Annotated[
        ParentPolicy, typer.Option(help="If a parent does not complete.")
    ] = ParentPolicy.DEAD_LETTER,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="QUEUE", help="Default: the job type's queue.")
    ] = None,
    dedup_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Identifies equal submissions, instead of the parameters.")
    ] = None,
    on_duplicate: Annotated[
        OnDuplicate, typer.Option(help="Refuse an identical submission, return the existing job, or replace it.")
    ] = "reject",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="K=V", help="To find it by; may be repeated.")
    ] = None,
    max_retries: Annotated[int | None, typer.Option(min=0, metavar="N", help="Default: as the job type says.")] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of an attempt. Default: as the job type says.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for its end; exit 1 if it did not complete.")
    ] = False,
    wait_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Like --wait, but at most 90s, 5m, 1h30m; then the job goes on."),
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Submit a job. Once this has printed the job's id, the job will not be lost.

    A value that is JSON is taken as JSON, any other as text; quote text that looks like JSON: -p 'code="[a]"'.
    A number, true and false are text where the job type takes text.

    \b
    Examples:
        fairlane jobs submit report.pdf -o acme -u ana -p month=2026-11-01
        fairlane jobs submit report.pdf -o acme --parameters '{"month": "2026-11-01"}' --wait
        fairlane jobs submit report.pdf -o acme -p month=2026-12-01 --run-at 2027-01-01T06:00
    """
    from fairlane.engine.open_transactions import OWN

    fl = engine(context)
    longest = o.optional(o.duration, "--wait-timeout", wait_timeout)
    refuse_unknown(fl, organization)
    refuse_stranger(fl, organization, user)
    with hinting(parameter or []):
        job = fl.submit(
            job_type,
            organization=organization,
            user=user,
            parameters=given_parameters(fl, job_type, parameter or [], parameters),
            priority=priority,
            depends_on=[find_id(fl, parent, organization) for parent in depends_on or []],
            on_parent_failure=on_parent_failure,
            delay=o.optional(o.duration, "--delay", delay),
            run_at=o.optional(o.local_time, "--run-at", run_at),
            queue=queue,
            dedup_key=dedup_key,
            on_duplicate=on_duplicate,
            max_retries=INHERIT if max_retries is None else max_retries,
            timeout=INHERIT if timeout is None else o.duration("--timeout", timeout),
            labels=o.pairs("--label", label or ()),
            connection=OWN,
        )
    wait = wait or longest is not None
    if not as_json:
        say(f"Job {job.id} is {job.status}.")
    if wait:
        job = _wait_or_leave(fl, job, longest, quiet=as_json)
    elif not as_json:
        remark_on_holds(fl, job.id, organization)
    if as_json:
        print_json(job)
    if wait and job.status is not JobStatus.COMPLETED:
        raise typer.Exit(1)


def given_parameters(
    fl: "Fairlane",
    job_type: str,
    pairs: list[str],
    document: str | None,
    otherwise: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the object of --parameters, or `otherwise`, with the values of each -p replaced in it."""
    given = dict(otherwise or {}) if document is None else o.json_object("--parameters", document)
    texts = _names_of_texts(fl, job_type) if pairs else ()
    for key, text in o.pairs("--parameter", pairs).items():
        value = o.json_or_text("--parameter", text)
        given[key] = text if key in texts and isinstance(value, int | float) else value
    return given


def _names_of_texts(fl: "Fairlane", job_type: str) -> list[str]:
    """Return the parameters for which the job type accepts text and no number."""
    if fl.catalogue.known(job_type) is None:
        fl.database.look(lambda connection: fl.catalogue.learn(connection, [job_type]))
    known = fl.catalogue.known(job_type)
    fields = known.schema.describe()["parameters"]["fields"] if known is not None else {}
    kinds = {name: field["schema"].get("of", field["schema"]) for name, field in fields.items()}
    return [name for name, node in kinds.items() if isinstance(node, dict) and _is_of_texts(node)]


def _is_of_texts(node: Mapping[str, Any]) -> bool:
    if node["kind"] in ("literal", "enum"):
        return all(isinstance(value, str) for value in node["values"])
    return node["kind"] in ("str", "secret")


@contextmanager
def hinting(pairs: list[str]) -> Iterator[None]:
    """Return a hint that a refused parameter was read as JSON or as text, if the user may have meant the other."""
    try:
        yield
    except InvalidParameters as error:
        hints = dict.fromkeys(
            hint for one in o.pairs("--parameter", pairs).items() if (hint := _hint(str(error), *one))
        )
        raise InvalidParameters("; ".join([str(error), *hints])) from None


def _hint(refusal: str, name: str, text: str) -> str:
    found = re.search(rf"parameter '{re.escape(name)}['.\[][^;]*", refusal)
    if found is None:
        return ""
    try:
        value = json.loads(text)
    except ValueError as error:
        for kind, example in _WRITTEN.items():
            if re.search(rf"must be {kind}\b", found[0]):
                return f"{name} is {kind} such as {example}"
        if not text.startswith(("[", "{", '"')):
            return ""
        return f"what -p gave for {name} is no JSON ({error}), so it was taken as text"
    wants_text = "must be a string" in found[0] and not isinstance(value, str | list | dict)
    shown = "…" if REDACTED in found[0] else text
    return f"""for text that looks like JSON, quote it: -p '{name}="{shown}"'""" if wants_text else ""


def remark_on_holds(fl: "Fairlane", job: UUID, organization: str, *, of: str = "") -> None:
    """Print what keeps a job that just became ready from starting, as `fairlane jobs explain` does.

    Args:
        of: a name of the job, printed before the reasons, if there are several jobs.
    """
    # The job exists: if this command failed now, a user would run it again and submit a second job.
    with suppress(FairlaneError):
        told = fl.explain(job, organization=organization)
        if told.status is JobStatus.QUEUED and told.reasons[0].code not in _STARTS_SOON:
            for words in [*([of] if of else []), *(reason.advice for reason in told.reasons)]:
                remark(words)


def _wait_or_leave(fl: "Fairlane", job: Job, longest: timedelta | None, *, quiet: bool) -> Job:
    """Wait for the job's end, or say how to follow it later."""
    seconds = math.inf if longest is None else longest.total_seconds()
    try:
        job = _wait(fl, job, seconds, quiet=quiet)
    except KeyboardInterrupt:
        _say_how_to_follow(job)
        raise
    return job if quiet else _told_end(fl, job, seconds)


def _say_how_to_follow(job: Job) -> None:
    remark(f"Job {job.id} goes on without this command; to follow it:")
    remark(f"  fairlane jobs log {job.id} -o {shlex.quote(job.organization)} --follow", whole=True)


def _wait(fl: "Fairlane", job: Job, longest: float, *, quiet: bool) -> Job:
    """Wait for the job's end, on a terminal with a progress bar, which is on standard error."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    out = console(stderr=True)
    columns = (
        TextColumn("{task.fields[status]}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    look, start = _FIRST_LOOK, time.monotonic()
    # The reason for waiting is printed after a failed attempt, after a long wait, and when it changes.
    stage, said = (0, 0), (0, "")
    with Progress(*columns, console=out, transient=True, disable=quiet or not out.is_terminal) as bars:
        bar = bars.add_task("", total=None, status=job.status)
        while job.status not in TERMINAL and (left := longest - (time.monotonic() - start)) > 0:
            time.sleep(min(look, left))
            look = min(look * 1.5, SLOWEST_LOOK)
            job = fl.get(job.id, organization=job.organization)
            before, stage = stage, (job.retry_count, _explanations(time.monotonic() - start))
            if job.status in WAITING and stage != before and not quiet:
                told = fl.explain(job.id, organization=job.organization)
                if (job.retry_count, told.reasons[0].code) != said:
                    said = (job.retry_count, told.reasons[0].code)
                    remark(_why(told, job), on=out)
            total = 100 if job.progress is not None else None
            message = plain(job.progress_message or "")
            bars.update(bar, completed=job.progress or 0, total=total, description=message, status=job.status)
    return job


def _told_end(fl: "Fairlane", job: Job, waited: float) -> Job:
    """Say how the job ended, or that it has not; return its latest state."""
    from fairlane.domain.explain import still_waiting

    if job.status is not JobStatus.COMPLETED:
        told = fl.explain(job.id, organization=job.organization)
        if told.status not in TERMINAL:
            remark(still_waiting(job.id, told, waited))
            _say_how_to_follow(job)
            return job
        if told.status is not JobStatus.COMPLETED:
            remark(f"Job {job.id} is {told.status}. {_why(told, job)}")
            return job
        job = fl.get(job.id, organization=job.organization)
    say(f"Job {job.id} is {job.status}.")
    return job


def _explanations(waited: float) -> int:
    """Return how often to explain a wait of so many seconds."""
    return 1 + int((waited - _LONG_WAIT) / _EXPLAINED_EVERY) if waited > _LONG_WAIT else 0


def _why(told: "Explanation", job: Job) -> str:
    if len(told.reasons) == 1:
        return told.reasons[0].advice
    more = number_of(len(told.reasons) - 1, "more reason")
    return (
        f"{told.reasons[0].advice} ({more}: fairlane jobs explain {short(job.id)} -o {shlex.quote(job.organization)})"
    )
