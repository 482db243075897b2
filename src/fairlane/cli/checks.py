"""`fairlane check`: it finds what workers and applications lack."""

import os
import shlex
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import uuid4

import typer
from rich.text import Text

from fairlane import ConfigurationError, Fairlane, FairlaneError, Settings
from fairlane.cli import options as o
from fairlane.cli.output import console, maintenance_text, number_of, plain, print_json, some_of
from fairlane.cli.session import engine, start_of, target_of
from fairlane.config import WebSettings, is_secret, meant, what_is_wrong
from fairlane.domain.metrics import are_stood_in_for
from fairlane.domain.redact import safe_url
from fairlane.encryption.artifacts import folder_of
from fairlane.store import row_logins, schema
from fairlane.store.row_security import EVERYONE, DatabaseRole
from fairlane.store.statements import resealing
from fairlane.tenancy.directory import StoredDirectory

# A larger difference makes `run_at` and ages visibly wrong.
_CLOCKS_MAY_DIFFER: Final = 5.0  # seconds
_SCHEDULES: Final = 1000  # each takes a millisecond or two, and up to twenty by its parameters
_PREFIX: Final = "FAIRLANE_"
# Read by the command line itself, in addition to those of `Settings`.
_OWN: Final = frozenset({"FAIRLANE_APP", "FAIRLANE_HOST", "FAIRLANE_ORGANIZATION", "FAIRLANE_PORT"})

_CHECK: Final = "fairlane-check"


class Grade(StrEnum):
    """The severity of a finding."""

    FINE = "ok"
    NOTE = "note"
    WRONG = "wrong"


_MARKS: Final = {Grade.FINE: ("✓", "green"), Grade.NOTE: ("•", "yellow"), Grade.WRONG: ("✗", "bold red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of the check: its subject, and a sentence that says what was found and what to do."""

    subject: str
    grade: Grade
    sentence: str


def check(context: typer.Context, as_json: o.AsJson = False) -> None:
    """Look at the database, its schema, the artifact storage, job types, workers, clocks and settings.

    Each finding is a sentence that says what to do. The exit code is 1 if something is wrong.

    \b
    Examples:
        fairlane check --url postgresql://localhost/jobs
        fairlane check --app myproject.jobs:fl --json
    """
    findings = [*_settings(), *_findings(context)]
    fine = all(one.grade is not Grade.WRONG for one in findings)
    if as_json:
        print_json({"ok": fine, "findings": findings})
    else:
        _print(findings)
    if not fine:
        raise typer.Exit(1)


def _print(findings: list[Finding]) -> None:
    out = console()
    width = max(len(one.subject) for one in findings)
    for one in findings:
        mark, style = _MARKS[one.grade]
        head = Text.assemble((mark, style), f" {one.subject:<{width}}  ")
        # A long sentence is wrapped and indented.
        room = max(out.width - head.cell_len, 20)
        # Long words are not split, so that a URL can be copied.
        lines = textwrap.wrap(plain(one.sentence), room, break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(lines):
            out.print(head if number == 0 else Text(" " * head.cell_len), line, sep="", soft_wrap=True)


def _settings() -> Iterator[Finding]:
    """Check the settings in the environment, and find unknown names there."""
    settings = {f"{_PREFIX}{name.upper()}": name for name in (*Settings.model_fields, *WebSettings.model_fields)}
    for name in sorted(os.environ.keys() & (settings.keys() | _OWN)):
        is_hidden = name in settings and is_secret(settings[name])
        shown = f"{name}={'***' if is_hidden else safe_url(os.environ[name])}"
        why = what_is_wrong(settings[name], os.environ[name]) if name in settings else None
        wrong = Finding("setting", Grade.WRONG, f"{shown} is wrong: {why}; correct it or remove it.")
        yield Finding("setting", Grade.FINE, shown) if why is None else wrong
    yield from _together()
    for name in sorted(os.environ.keys() - settings.keys() - _OWN):
        # FAIRLANE_TEST_… belongs to this project's own tests.
        if name.startswith(_PREFIX) and not name.startswith(f"{_PREFIX}TEST_"):
            what = f"{name} is no setting of Fairlane{meant(name, settings.keys() | _OWN)}"
            yield Finding("setting", Grade.WRONG, f"{what}; correct its name or remove it.")


def _together() -> Iterator[Finding]:
    """Find settings that are wrong only in combination: one of several that belong together is missing."""
    try:
        WebSettings()
    except ConfigurationError as error:
        if not any(f"{name}: " in str(error) for name in WebSettings.model_fields):
            yield Finding("setting", Grade.WRONG, str(error))


def _findings(context: typer.Context) -> Iterator[Finding]:
    """Yield findings one by one, as far as the earlier ones allow."""
    app = target_of(context).app
    try:
        fl = engine(context)
    except FairlaneError as error:
        yield Finding("application" if app is not None else "database", Grade.WRONG, str(error))
        return
    try:
        yield from _application(fl, app)
        before = datetime.now(UTC)
        theirs = fl.database.read(fl.database.clock.now)
        after = datetime.now(UTC)
        yield Finding("database", Grade.FINE, f"{safe_url(fl.settings.url)} answers.")
        yield _clocks((theirs - (before + (after - before) / 2)).total_seconds())
        yield from _storage(fl)
        yield from _schema(fl, start_of(target_of(context)))
    except FairlaneError as error:
        yield Finding("database", Grade.WRONG, str(error))


def _directory(fl: Fairlane) -> Iterator[Finding]:
    """Ask the application's directory about the users of jobs and an unknown user, to check the form of its answers."""
    if isinstance(fl.directory, StoredDirectory):
        return
    pairs = {(one.organization, one.user) for one in fl.reads.running(limit=100) if one.user is not None}
    pairs.add((os.environ.get("FAIRLANE_ORGANIZATION") or _CHECK, _CHECK))
    try:
        fl.directory.organizations({organization for organization, _ in pairs})
        fl.directory.members(pairs)
    except FairlaneError as error:
        yield Finding("directory", Grade.WRONG, str(error))
    else:
        yield Finding("directory", Grade.FINE, "The application's own directory answers.")


def _schema(fl: Fairlane, start: str) -> Iterator[Finding]:
    """Check the schema, and if it is right its content; `start` is the command that starts a worker."""
    bound = _row_security(fl)
    if bound is not None:
        yield bound
        if (rights := schema.rights_not_ours(fl.database)) is not None:
            yield Finding("rights", Grade.NOTE, rights)
        if bound.grade is Grade.WRONG:
            return  # this login may not even read the schema's revision
    try:
        schema.check(fl.database)
    except ConfigurationError as error:
        yield Finding("schema", Grade.WRONG, str(error))
        return
    found = schema.state(fl.database)
    if found.condition is schema.Condition.CURRENT:
        yield Finding("schema", Grade.FINE, f"It is at revision {found.head}, which is this code's.")
    else:
        advice = "run `fairlane migrate`" if found.condition is schema.Condition.PREVIOUS else "upgrade fairlane"
        sentence = (
            f"It is at revision {found.current}, this code's is {found.head}; they work together, but {advice} soon."
        )
        yield Finding("schema", Grade.NOTE, sentence)
    if bound is not None and (lack := fl.database.read(row_logins.of_application).lack):
        yield Finding("login", Grade.NOTE, lack)
        return  # the rest looks across organizations
    yield from _job_types(fl, start)
    if (state := fl.maintenance.get()) is not None:
        yield Finding("maintenance", Grade.NOTE, f"{maintenance_text(state)}; turn it off: fairlane maintenance off")
    yield _workers(fl, start)
    yield from _stranded(fl, start)
    yield from _schedules(fl)
    yield from _directory(fl)
    yield from _keys(fl)
    yield from _keys_of_workers(fl)


def _row_security(fl: Fairlane) -> Finding | None:
    """Say whether row security is on and binds this login; None without tables, and on SQLite."""
    if not fl.database.kind.has_row_security:
        return None
    missing = schema.lacks_row_security(fl.database)
    login = fl.database.read(row_logins.of_application)
    if not login.has_tables:
        return None
    if missing is not None:
        # The owner can work without row security: then only the code separates organizations.
        return Finding("row security", Grade.NOTE if login.reads else Grade.WRONG, missing)
    if not login.reads:
        return Finding("row security", Grade.WRONG, f"It is on. {login.needs}")
    if login.above is not None:
        sentence = f"It is on, but the login {login.name} {login.above}: not for production. {row_logins.ADVICE}"
        return Finding("row security", Grade.NOTE, sentence)
    if DatabaseRole.TENANT not in login.may_be:
        return Finding("row security", Grade.NOTE, f"It is on. {login.needs_tenant}")
    return Finding("row security", Grade.FINE, f"It is on; login {login.name} is bound by it.")


def _keys(fl: Fairlane) -> Iterator[Finding]:
    """Find organizations whose jobs wait because this process can't decrypt them, and those with unencrypted jobs."""
    for sentence in fl.keys.missing().values():
        yield Finding("keys", Grade.WRONG, sentence)
    if left := fl.database.read(resealing.left_open, of=EVERYONE):
        sentence = f"Jobs of {some_of(left)} from before there was a key are not encrypted: fairlane keys reencrypt"
        yield Finding("keys", Grade.NOTE, sentence)


def _keys_of_workers(fl: Fairlane) -> Iterator[Finding]:
    """Find organizations whose jobs workers do not claim, because they can't decrypt them."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for organization, names in fl.reads.lacking_keys().items():
        alike.setdefault(names, []).append(organization)
    alive = fl.reads.workers()
    for names, organizations in alike.items():
        where = f"fairlane keys list -o {shlex.quote(organizations[0])}"
        remedy = f"start them with its master key in FAIRLANE_ENCRYPTION_KEYS; its name is in: {where}"
        whose, who = some_of(organizations), some_of(names)
        lacking = [one for one in alive if one.name in names]
        is_done = are_stood_in_for(lacking, [one for one in alive if one not in lacking])
        what = f"{len(names):,} of {number_of(len(alive), 'live worker')} can't use the encryption key of {whose}"
        if is_done:
            what += " and leave its jobs to others"
        elif len(lacking) < len(alive):
            what += ", and of its jobs those wait that no other claims"
        else:
            what = f"No live worker can use the encryption key of {whose}, and its jobs wait"
        yield Finding("keys", Grade.NOTE if is_done else Grade.WRONG, f"{what}: {who}; {remedy}")


def _application(fl: Fairlane, app: str | None) -> Iterator[Finding]:
    if app is None:
        return
    if mine := sorted(fl.catalogue.mine):
        yield Finding("application", Grade.FINE, f"{app} has {number_of(len(mine), 'job type')}: {', '.join(mine)}.")
    else:
        sentence = f"{app} has no job types; import the modules with your handlers there."
        yield Finding("application", Grade.WRONG, sentence)


def _storage(fl: Fairlane) -> Iterator[Finding]:
    """Write, read and delete a small file."""
    path, url = f"{_CHECK}/{uuid4()}", safe_url(fl.artifacts.url)
    try:
        with _no_folders_left(fl.artifacts.url):
            fl.artifacts.put(path, b"fairlane check")
            readable = fl.artifacts.get(path) == b"fairlane check"
            fl.artifacts.delete(path)
    except (FairlaneError, OSError) as error:
        sentence = f"{url} is not writable ({error}); give this user the right, or set FAIRLANE_ARTIFACTS_URL."
        yield Finding("artifacts", Grade.WRONG, sentence)
        return
    if not readable:
        yield Finding("artifacts", Grade.WRONG, f"{url} gives back another file than it took; look at its settings.")
    elif fl.database.kind.is_server and fl.settings.artifacts_url is None:
        sentence = (
            f"{url}, a folder of this working directory, takes files and gives them back. Processes elsewhere do not "
            "see them: set FAIRLANE_ARTIFACTS_URL to one place for all processes, such as file:///srv/artifacts or "
            "s3://bucket."
        )
        yield Finding("artifacts", Grade.NOTE, sentence)
    else:
        yield Finding("artifacts", Grade.FINE, f"{url} takes files and gives them back.")


@contextmanager
def _no_folders_left(url: str) -> Iterator[None]:
    """Remove the folders that the check created, as far as they are empty."""
    storage = folder_of(url)
    folders = (storage / _CHECK, storage, *storage.parents) if storage is not None else ()
    new = [one for one in folders if not one.exists()]
    try:
        yield
    finally:
        for one in new:
            with suppress(OSError):
                one.rmdir()


def _clocks(seconds: float) -> Finding:
    if abs(seconds) <= _CLOCKS_MAY_DIFFER:
        return Finding("clocks", Grade.FINE, f"This machine's and the database's differ by {abs(seconds):.2f} s.")
    way = "behind" if seconds > 0 else "ahead of"
    return Finding(
        "clocks",
        Grade.WRONG,
        f"This machine's clock is {abs(seconds):.0f} s {way} the database's; set both by NTP, "
        "or times that applications give mean other times there.",
    )


def _job_types(fl: Fairlane, start: str) -> Iterator[Finding]:
    registered = fl.job_types.list()
    if not registered:
        sentence = f"None is registered; run `fairlane migrate --app …`, or start a worker: {start}"
        yield Finding("job types", Grade.NOTE, sentence)
        return
    names = ", ".join(one.name for one in registered)
    yield Finding("job types", Grade.FINE, f"{number_of(len(registered), 'type')} registered: {names}.")
    for one in registered:
        if not one.enabled:
            sentence = f"{one.name} is disabled; let it be submitted again: fairlane types enable {one.name}"
            yield Finding("job types", Grade.NOTE, sentence)
        if one.paused:
            sentence = f"{one.name} is paused; let it run: fairlane types resume {one.name}"
            yield Finding("job types", Grade.NOTE, sentence)


def _workers(fl: Fairlane, start: str) -> Finding:
    """Find a missing worker; this is wrong only if jobs wait for one."""
    alive = fl.reads.workers()
    if alive:
        slots = number_of(sum(one.slots for one in alive), "slot")
        return Finding("workers", Grade.FINE, f"{number_of(len(alive), 'worker')} alive, with {slots} in all.")
    queues = fl.reads.queues()
    waiting = sum(one.live for one in queues)
    if waiting:
        jobs = f"{number_of(waiting, 'job')} {'waits' if waiting == 1 else 'wait'} for one"
        return Finding("workers", Grade.WRONG, f"None is alive, and {jobs}; start it: {start}")
    return Finding("workers", Grade.NOTE, f"None is alive; no job waits for one. To start it: {start}")


def _schedules(fl: Fairlane) -> Iterator[Finding]:
    """Find schedules whose ticks are refused, or will be, among the first thousand, as far as the list says."""
    refused = [
        f"{one.name} of {one.organization}"
        for one in fl.schedules.list(organization=None, limit=_SCHEDULES)
        if one.problem is not None and one.next_ticks
    ]
    if refused:
        whose = "its" if len(refused) == 1 else "their"
        what = f"{number_of(len(refused), 'schedule')} {'has' if len(refused) == 1 else 'have'} {whose} ticks refused"
        sentence = f"{what}: {some_of(refused)}; `fairlane schedules show NAME -o ORG` says why and what to do."
        yield Finding("schedules", Grade.NOTE, sentence)


def _stranded(fl: Fairlane, start: str) -> Iterator[Finding]:
    """Find jobs that wait although there are workers, because no worker may claim them."""
    workers = fl.reads.workers()
    if not workers:
        return
    for one in fl.reads.stranded():
        jobs = f"{number_of(one.waiting, 'job')} of type {one.job_type} {'waits' if one.waiting == 1 else 'wait'}"
        queue, name = shlex.quote(one.queue), shlex.quote(one.job_type)
        if any(one.job_type in it.job_types and (it.queues is None or one.queue in it.queues) for it in workers):
            them = "it" if one.waiting == 1 else "them"
            what = f"the workers that could run {them} are stopping; when these have ended, others go on: {start}"
            yield Finding("stranded", Grade.NOTE, f"{jobs}, and {what}")
            continue
        if one.queue_is_served:
            what = (
                f"no worker of queue {one.queue} has its handler; start one whose application has it. If none has it "
                f"any more, cancel them, and once retention has removed all its jobs: fairlane types delete {name}"
            )
        else:
            what = f"no worker serves queue {one.queue}; start one: {start} --queue {queue}"
        yield Finding("stranded", Grade.WRONG, f"{jobs}, and {what}")
