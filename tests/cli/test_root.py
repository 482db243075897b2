"""Global options, the application, errors and help."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import make_url

from fairlane import ConfigurationError, Fairlane, StorageUnavailable, cli
from fairlane.cli.root import app, hoisted
from tests.cli.conftest import Run

APPLICATION = """
from fairlane import Fairlane
fl = Fairlane()

@fl.job_type("greet")
async def greet(ctx) -> None: ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory for modules; what is imported from it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_version(run: Run) -> None:
    assert re.fullmatch(r"fairlane \d+\.\d+\.\d+\n", run("--version").stdout)


def test_the_version_is_told_without_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fairlane", "--version"])
    monkeypatch.setitem(sys.modules, "fairlane.cli.root", None)  # an import of it fails
    cli.main()
    assert capsys.readouterr().out.startswith("fairlane ")


def test_global_options_stand_anywhere() -> None:
    assert hoisted(["worker", "--app", "a:b", "-c", "3", "--url=x"]) == ["--app", "a:b", "--url=x", "worker", "-c", "3"]
    assert hoisted(["jobs", "submit", "--", "--url"]) == ["jobs", "submit", "--", "--url"]
    assert hoisted(["worker", "--app"]) == ["--app", "worker"]


def commands() -> list[list[str]]:
    root = typer.main.get_command(app)
    found: list[list[str]] = [[]]
    for name, command in getattr(root, "commands").items():  # noqa: B009 - typer does not export its groups' type
        found.append([name])
        found += [[name, sub] for sub in getattr(command, "commands", {})]
    return found


def test_every_command_has_help_with_an_example(run: Run) -> None:
    def is_good(command: list[str], printed: str) -> bool:
        is_group = len(command) == 1 and "Commands:" in printed
        has_example = f"  fairlane {' '.join(command)}".rstrip() in printed
        return printed.startswith("Usage: fairlane") and (is_group or has_example)

    assert [command for command in commands() if not is_good(command, run(*command, "--help").stdout)] == []


def with_organization(*, required: bool) -> list[list[str]]:
    """Commands that need -o, or that are about all organizations without it; each with its arguments made up."""
    root = typer.main.get_command(app)
    found = []
    for group, of in getattr(root, "commands").items():  # noqa: B009 - as above
        for name, command in getattr(of, "commands", {}).items():
            arguments = [one for one in command.params if one.param_type_name == "argument" and one.required]
            if any("-o" in one.opts and one.required is required for one in command.params):
                found.append([group, name, *("x" for _ in arguments)])
    return found


@pytest.mark.parametrize(
    ("required", "sentence"),
    [
        (True, "It is empty, and this is about one organization; name it: -o acme."),
        (False, "It is empty; name one, -o acme, or say that it is about all of them: -o -."),
    ],
    ids=["one", "all"],
)
def test_an_empty_organization_is_refused(run: Run, required: bool, sentence: str) -> None:
    def told(command: list[str]) -> str:
        return " ".join(run(*command, "-o", "", code=2).stderr.replace("│", " ").split())

    wanted = with_organization(required=required)
    assert wanted
    assert [command for command in wanted if sentence not in told(command)] == []


@pytest.mark.parametrize(
    "command",
    [
        *("orgs suspend acme", "orgs activate acme", "orgs pause acme", "orgs resume acme", "orgs delete acme --yes"),
        *("queues pause default", "queues resume default", "types enable greet", "types disable greet"),
        *("maintenance on", "maintenance off"),
        *("types delete fail --yes", "types pause greet", "types resume greet", "types limit greet --max-running 1"),
        *("types close-breaker greet -o acme", "schedules put daily greet --every 1d -o acme"),
        *(f"schedules {verb} nightly -o acme" for verb in ("pause", "resume", "submit", "delete --yes")),
    ],
)
def test_the_acting_user_has_to_exist(run: Run, fl: Fairlane, command: str) -> None:
    fl.schedules.put("nightly", "greet", organization="acme", every=86_400)
    before = fl.audit.list(organization="acme"), fl.audit.list(organization=None)

    refused = run(*command.split(), "--user", "eve", code=1).stderr
    assert refused == "Error: There is no user eve; create that user: fairlane users create eve\n"
    assert (fl.audit.list(organization="acme"), fl.audit.list(organization=None)) == before
    run(*command.split(), "--user", "ana")


def test_nonsense_is_a_usage_error(run: Run) -> None:
    run("nonsense", code=2)
    run("jobs", "list", "--nonsense", code=2)


def test_a_command_without_its_group_is_told_with_it(run: Run) -> None:
    complaint = run("submit", "greet", "-o", "acme", code=2).stderr
    assert (
        "There is no command 'fairlane submit'; did you mean fairlane jobs submit or fairlane schedules submit?"
        in complaint
    )
    assert "did you mean fairlane jobs retry or fairlane dead-letters retry?" in run("retry", code=2).stderr


def test_a_database_that_is_away_is_one_sentence(run: Run) -> None:
    complaint = run("orgs", "list", "--url", "postgresql://localhost:1/none", code=1).stderr
    assert complaint.startswith("Error: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"database": "none"}, "The server has no such database; create it and run `fairlane migrate`, or correct "),
        ({"username": "nobody"}, "The server does not let this user in; correct user or password of the URL, "),
    ],
    ids=["database", "user"],
)
def test_what_postgres_does_not_have_is_not_to_be_tried_again(
    run: Run, postgres_server: str, changes: dict[str, Any], sentence: str
) -> None:
    url = make_url(postgres_server).set(**changes).render_as_string(hide_password=False)

    complaint = run("orgs", "list", "--url", url, code=1).stderr

    assert complaint.startswith(f"Error: {sentence}")
    assert "try again" not in complaint


def test_a_url_that_is_none_is_one_sentence(run: Run) -> None:
    complaint = run("orgs", "list", "--url", "jobs.db", code=1).stderr
    assert complaint.startswith("Error: The database URL can't be read; write sqlite:///jobs.db or ")


@pytest.mark.parametrize("command", ["migrate", "worker", "orgs create acme", "jobs list -o acme", "check"])
def test_a_database_in_memory_is_refused_since_it_would_end_with_the_command(
    run: Run, project: Path, command: str
) -> None:
    (project / "shop.py").write_text(APPLICATION.replace("Fairlane()", "Fairlane('sqlite:///:memory:')"))
    printed = run(*command.split(), "--app", "shop:fl", "--url", "sqlite:///:memory:", code=1)

    told = " ".join((printed.stderr + printed.stdout).split())
    assert "The database sqlite:///:memory: is in memory: it lives in one process and ends with this command;" in told
    assert "such as sqlite:///jobs.db." in told


@pytest.mark.parametrize("url", ["sqlite://jobs.db", "sqlite://data/jobs.db"])
def test_a_sqlite_url_with_two_slashes_is_told_to_have_three(run: Run, url: str) -> None:
    sentence = f"The URL of a SQLite file has three slashes; write {url.replace('//', '///')}."

    assert run("migrate", "--url", url, code=1).stderr == f"Error: {sentence}\n"
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        Fairlane(url)


def test_the_application_is_found_from_the_working_directory(run: Run, project: Path) -> None:
    (project / "shop.py").write_text(APPLICATION)

    assert "Registered 1 job type: greet." in run("migrate", "--app", "shop:fl").stdout
    assert "shop has 1 job type: greet." in run("check", "-A", "shop").stdout


def test_ctrl_c_while_the_application_is_imported_is_one_sentence(run: Run, project: Path) -> None:
    (project / "shop.py").write_text("raise KeyboardInterrupt")

    complaint = run("worker", "--app", "shop:fl", code=130).stderr

    assert complaint == "Interrupted while shop was being imported, before anything was started.\n"


def test_ctrl_c_while_the_command_line_itself_is_imported_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)")
    path = os.pathsep.join([str(tmp_path), *sys.path])

    ended = subprocess.run(
        [sys.executable, "-m", "fairlane", "worker"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (130, "Interrupted before anything was started.\n")


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (None, "shop:fl", "--app or FAIRLANE_APP says shop:fl, but there is no module shop to be imported from"),
        ("import nothing_here", "shop:fl", "Importing shop failed: it needs nothing_here, which is not installed."),
        ("1 / 0", "shop:fl", "Importing shop failed with ZeroDivisionError: division by zero ("),
        ("int('x')", "shop:fl", "Importing shop failed with ValueError: invalid literal"),
        ("", "shop:fl", "Module shop has no fl; name its Fairlane: --app module:object."),
        ("fl = 3", "shop:fl", "shop:fl is of type int, and not a Fairlane."),
        ("", "shop", "Which Fairlane of shop is meant? It has none; write --app shop:object."),
        ("", ":fl", "--app or FAIRLANE_APP must be a module or module:object, such as myproject.jobs:fl, and not ''."),
    ],
)
def test_an_application_that_is_none_is_one_sentence(
    run: Run, project: Path, source: str | None, target: str, sentence: str
) -> None:
    if source is not None:
        (project / "shop.py").write_text(source)

    complaint = run("worker", "--app", target, code=1).stderr

    assert complaint.startswith(f"Error: {sentence}")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("where", ["--url", "FAIRLANE_URL"])
def test_an_application_with_a_url_of_its_own_is_not_overruled_silently(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (project / "shop.py").write_text("from fairlane import Fairlane\nfl = Fairlane('postgresql://me:secret@db/own')")
    monkeypatch.setenv("FAIRLANE_URL", "sqlite:///other.db")
    more = ["--url", "sqlite:///other.db"] if where == "--url" else []

    complaint = run("orgs", "list", "--app", "shop:fl", *more, code=1).stderr

    assert complaint.startswith(
        "Error: shop:fl says url = postgresql://me:***@db/own in its code, "
        f"and {where} says sqlite:///other.db; leave out {where}, or "
    )


def test_a_login_of_the_environment_beside_an_url_in_code_is_told(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    (project / "shop.py").write_text(f"from fairlane import Fairlane\nfl = Fairlane({url!r})")
    monkeypatch.setenv("FAIRLANE_OWNER_URL", "sqlite:///owner.db")

    assert run("migrate", "--app", "shop:fl", code=1).stderr == (
        f"Error: shop:fl says url = {url} in its code, and FAIRLANE_OWNER_URL says sqlite:///owner.db; leave out "
        "FAIRLANE_OWNER_URL, or leave url out of the code, which then takes it from the environment.\n"
    )


def test_no_other_setting_is_overruled_silently_either(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "shop.py").write_text("from fairlane import Fairlane, Settings\nfl = Fairlane(Settings(lease=5))")
    monkeypatch.setenv("FAIRLANE_LEASE", "20")

    complaint = run("orgs", "list", "--app", "shop:fl", code=1).stderr
    assert complaint.startswith("Error: shop:fl says lease = 5.0 in its code, and FAIRLANE_LEASE says 20.0;")
    monkeypatch.setenv("FAIRLANE_LEASE", "5")
    run("migrate", "--app", "shop:fl")


def test_a_worker_without_handlers_says_what_to_write(run: Run, project: Path) -> None:
    assert "fairlane --app myproject.jobs:fl worker" in run("worker", code=1).stderr
    (project / "shop.py").write_text("from fairlane import Fairlane\nfl = Fairlane()")
    assert "shop:fl has no job types" in run("worker", "--app", "shop:fl", code=1).stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_without_a_schema_says_to_migrate(run: Run, project: Path, processes: int) -> None:
    (project / "shop.py").write_text(APPLICATION)

    complaint = run("worker", "--app", "shop:fl", "--url", "sqlite:///new.db", "--processes", processes, code=1).stderr

    assert "run `fairlane migrate`" in complaint


def test_what_an_option_may_be_is_told_in_plain_words(run: Run) -> None:
    refused = run("members", "add", "ana", "-o", "acme", "--role", "boss", code=2).stderr
    assert "Invalid value for '--role': 'boss' is not one of 'viewer', 'member', 'admin'." in refused
    assert "STATUS" in (told := run("jobs", "list", "--help").stdout)
    assert "dead_letter" in told


def test_what_an_error_advises_is_a_command_an_option_or_a_variable(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(command: str) -> str:
        return run(*command.split(), code=1).stderr.removeprefix("Error: ").removesuffix("\n")

    fl.users.create("olga")
    fl.schedules.put("nightly", "greet", organization="acme", every=86_400, as_user="ana")
    fl.members.remove("acme", "ana")
    assert told("users create olga") == "There is a user olga already; change that user with `fairlane users update`."
    assert told("users update eve") == "There is no user eve; create that user: fairlane users create eve"
    assert told("schedules submit nightly -o acme").endswith("add them: fairlane members add ana -o acme")
    assert told("jobs submit greet -o acme --delay 1h --run-at 2040-01-01").endswith(
        "Give --run-at or --delay, not both."
    )
    window = told("types limit greet --execution-rate-window 1h")
    assert window.startswith("--execution-rate-window is the time of --execution-rate, which is not set")
    monkeypatch.setenv("FAIRLANE_LEASE", "abc")
    assert told("orgs list").startswith("Fairlane's settings are wrong: lease (FAIRLANE_LEASE): input should be a ")


def test_a_database_that_another_transaction_locks_is_told_with_what_helps(
    run: Run, fl: Fairlane, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_LOCK_TIMEOUT", "0.1")
    helps = (
        r"pass it as connection= to submit a job; call all other verbs before that transaction, or after its commit\.$"
    )
    with closing(sqlite3.connect(str(make_url(url).database))) as host, Fairlane() as theirs:
        host.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match=helps):
            theirs.organizations.create("new")
        told = run("orgs", "create", "new", code=1).stderr
    assert told == "Error: The database was locked for too long; nothing was changed, try again.\n"
