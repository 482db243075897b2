"""`fairlane migrate`, `fairlane check` and `fairlane top`."""

import io
import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from rich.console import Console, Group
from sqlalchemy import text

from fairlane import Fairlane, JobContext, Settings
from fairlane.cli import top
from fairlane.cli.top import Snapshot, sections
from fairlane.domain.metrics import OrganizationView, QueueView, RunningJob, WorkerView
from fairlane.store import schema
from tests.cli.conftest import Run, running_worker
from tests.engine.worker_kit import Gate, running, until

VERSION = schema._VERSION_TABLE


def sentences(run: Run, subject: str, *, code: int) -> list[str]:
    findings = run("check", "--json", code=code).json["findings"]
    return [one["sentence"] for one in findings if one["subject"] == subject]


def test_migrate_says_what_it_did(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    for command in ("orgs list", "jobs list -o acme", "check", "top"):
        printed = run(*command.split(), "--url", url, code=1)
        assert (
            f"no database {tmp_path / 'new.db'}; run `fairlane migrate` to create it" in printed.stdout + printed.stderr
        )
    assert not list(tmp_path.glob("new*"))

    assert f"The schema of {url} is now at revision" in run("migrate", "--url", url).stdout
    assert "is up to date" in run("migrate", "--url", url).stdout
    document = run("migrate", "--url", url, "--json").json
    assert document["before"] == document["now"]


@pytest.mark.parametrize("app", [(), ("--app", "takes_its_url_from_the_environment")], ids=["alone", "application"])
def test_an_url_that_is_typed_leaves_out_the_logins_of_the_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: tuple[str, ...]
) -> None:
    (tmp_path / "takes_its_url_from_the_environment.py").write_text("from fairlane import Fairlane\nfl = Fairlane()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "takes_its_url_from_the_environment", raising=False)
    url, others = f"sqlite:///{tmp_path / 'mine.db'}", f"sqlite:///{tmp_path / 'others.db'}"
    for name in ("FAIRLANE_OWNER_URL", "FAIRLANE_WORKER_URL"):
        monkeypatch.setenv(name, others)

    assert f"The schema of {url} is now at revision" in run("migrate", "--url", url, *app).stdout
    assert "No organizations" in run("orgs", "list", "--url", url).stdout
    assert not list(tmp_path.glob("others*"))


def test_an_url_in_code_leaves_out_the_logins_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = f"sqlite:///{tmp_path / 'others.db'}"
    for name in ("FAIRLANE_OWNER_URL", "FAIRLANE_WORKER_URL"):
        monkeypatch.setenv(name, others)
    for number, make in enumerate((Fairlane, lambda url: Fairlane(Settings(url=url)))):
        with make(f"sqlite:///{tmp_path / f'{number}.db'}") as fl:
            fl.migrate()
            assert fl.organizations.list() == ()
            assert (fl.settings.owner_url, fl.settings.worker_url) == (None, None)
    assert not list(tmp_path.glob("others*"))
    monkeypatch.setenv("FAIRLANE_URL", others)
    assert Settings().owner_url == others
    assert Settings(url=others, owner_url="sqlite:///mine.db").owner_url == "sqlite:///mine.db"


def test_the_default_database_is_named_where_none_was_given(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAIRLANE_URL")
    monkeypatch.chdir(tmp_path)

    complaint = run("orgs", "list", code=1).stderr

    assert complaint.startswith(
        f"Error: Neither --app nor --url was given, and the default database {tmp_path / 'fairlane.db'} is not there;"
    )
    assert not list(tmp_path.glob("fairlane*"))
    assert "The schema of sqlite:///fairlane.db is now at revision" in run("migrate").stdout
    assert "No organizations" in run("orgs", "list").stdout


def test_check_finds_nothing_wrong(run: Run, fl: Fairlane) -> None:
    printed = run("check").stdout
    assert "✓ database" in printed
    assert "2 types registered: fail, greet." in printed
    assert run("check", "--json").json["ok"] is True


def test_check_names_what_is_wrong(run: Run, fl: Fairlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fl.submit("greet", organization="acme")
    assert sentences(run, "workers", code=1)[0].startswith("None is alive, and 1 job waits for one; start it: ")

    monkeypatch.setenv("FAIRLANE_LEESE", "5")
    assert (
        "FAIRLANE_LEESE is no setting of Fairlane (did you mean FAIRLANE_LEASE?); correct its name or remove it."
        in sentences(run, "setting", code=1)
    )
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAIRLANE_ARTIFACTS_URL", f"file://{tmp_path / 'file' / 'folder'}")
    assert "is not writable" in sentences(run, "artifacts", code=1)[0]
    monkeypatch.setenv("FAIRLANE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    assert "run `fairlane migrate`" in sentences(run, "database", code=1)[0]


def test_check_does_not_blame_the_database_for_an_application_that_is_not_there(run: Run, fl: Fairlane) -> None:
    (finding,) = run("--app", "nothing.there:fl", "check", "--json", code=1).json["findings"][-1:]
    assert finding["subject"] == "application"
    assert "there is no module nothing" in finding["sentence"]


def test_check_says_which_setting_is_wrong_and_calls_the_others_right(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_LEASE", "abc")
    monkeypatch.setenv("FAIRLANE_GRACE", "-1")
    monkeypatch.setenv("FAIRLANE_POLL_INTERVAL", "2")

    printed = run("check", code=1).stdout

    assert "✗ setting   FAIRLANE_LEASE=abc is wrong: input should be a valid number" in printed
    assert "✗ setting   FAIRLANE_GRACE=-1 is wrong: input should be greater than or equal to 0; correct it" in printed
    assert "✓ setting   FAIRLANE_POLL_INTERVAL=2\n" in printed
    assert f"✓ setting   FAIRLANE_URL={fl.settings.url}\n" in printed


def test_check_names_jobs_that_no_worker_serves(run: Run, fl: Fairlane) -> None:
    fl.submit("fail", organization="acme", queue="bulk")
    with Fairlane(fl.settings) as other, running_worker(other):
        fl.submit("greet", organization="acme")
        fl.submit("greet", organization="acme", delay=3600, dedup_key="tonight")
        fl.submit("fail", organization="acme", delay=3600)
        found = sentences(run, "stranded", code=1)

    bulk, fail, greet = found
    assert bulk == (
        "1 job of type fail waits, and no worker serves queue bulk; start one: "
        "fairlane --app myproject.jobs:fl worker --queue bulk"
    )
    assert fail.startswith("1 job of type fail waits, and no worker of queue default has its handler; start one ")
    assert greet.startswith("2 jobs of type greet wait, and no worker of queue default has its handler; start one ")
    assert greet.endswith("once retention has removed all its jobs: fairlane types delete greet")


@pytest.mark.slow
def test_check_asks_for_no_worker_of_a_queue_whose_workers_are_stopping(run: Run, fl: Fairlane) -> None:
    gate = Gate()

    def slow(ctx: JobContext) -> None:
        gate.wait()

    fl.job_type("slow", dedup_window=0)(slow)
    job = fl.submit("slow", organization="acme")
    worker = fl.worker()
    with running(worker):
        until(lambda: fl.get(job, organization="acme").status == "running")
        fl.submit("slow", organization="acme")
        worker.stop()
        until(lambda: [one.stopping for one in fl.workers.list()] == [True])
        found = sentences(run, "stranded", code=0)
        gate.open()
    assert [one.partition(";")[0] for one in found] == [
        "1 job of type slow waits, and the workers that could run it are stopping"
    ]


def test_check_says_how_to_start_a_worker_of_the_application_that_was_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named.py").write_text(HOSTED)
    monkeypatch.syspath_prepend(tmp_path)
    run("migrate")

    findings = run("check", "--app", "named:right", "--json", code=1).json["findings"]

    assert [one["sentence"] for one in findings if one["subject"] == "workers"] == [
        "None is alive; no job waits for one. To start it: fairlane --app named:right worker"
    ]


@pytest.mark.parametrize("is_there", [False, True])
def test_check_leaves_no_folder_behind(
    run: Run, fl: Fairlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    artifacts = tmp_path / "new folder" / "artifacts"
    monkeypatch.setenv("FAIRLANE_ARTIFACTS_URL", artifacts.as_uri())
    if is_there:
        artifacts.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))

    assert "takes files and gives them back" in sentences(run, "artifacts", code=0)[0]

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("fl")
def test_check_notes_a_schema_one_revision_newer(run: Run, fl: Fairlane) -> None:
    head = schema.state(fl.database).head
    newer = f"{int(head) + 1:04}"
    fl.database.write(lambda connection: connection.execute(text(f"UPDATE {VERSION} SET version_num = '{newer}'")))

    assert sentences(run, "schema", code=0) == [
        f"It is at revision {newer}, this code's is {head}; they work together, but upgrade fairlane soon."
    ]


@pytest.mark.usefixtures("fl")
def test_check_notes_a_schema_one_revision_older(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    head = schema.state(fl.database).head
    newer = f"{int(head) + 1:04}"
    monkeypatch.setattr(schema, "_revisions", lambda: [head, newer])

    assert sentences(run, "schema", code=0) == [
        f"It is at revision {head}, this code's is {newer}; they work together, but run `fairlane migrate` soon."
    ]


def test_check_leaves_a_url_whole_on_a_narrow_terminal(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    assert f"FAIRLANE_URL={fl.settings.url}\n" in run("check").stdout


def test_check_shows_no_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLANE_URL", "postgresql://fairlane:secret@localhost:1/jobs")

    printed = run("check", code=1)

    assert "fairlane:***@localhost" in printed.stdout
    assert "secret" not in printed.stdout + printed.stderr
    assert "✗ database" in printed.stdout


def test_top(run: Run, fl: Fairlane) -> None:
    assert "No worker is alive" in run("top", "--once").stdout
    fl.submit("greet", organization="acme")

    printed = run("top").stdout
    assert "QUEUE" in printed
    assert "No job is running." in printed
    document = run("top", "--json").json
    assert document["queues"][0]["ready"] == 1
    assert (document["organizations"][0]["organization"], document["organizations"][0]["ready"]) == ("acme", 1)
    assert (document["running"], document["workers"]) == ([], [])


def test_top_says_who_runs_and_who_waits() -> None:
    names = [f"org-{number}" for number in range(30)]
    busy = (OrganizationView("acme", 30, 5, 6_000, 74.0), *(OrganizationView(name, 0, 1, 0, 2.0) for name in names))
    queue = QueueView("default", 35, 6_000, 0, 30, 0, paused=False)
    job = RunningJob(UUID(int=1), "acme", "greet", "default", None, 1, datetime.now(UTC), None, None, None, None)
    screen = Console(file=io.StringIO(), width=80, height=24)

    with screen.capture() as shown:
        screen.print(Group(*sections(Snapshot((queue,), busy, (job,) * 20, (), (), None), 24)))

    lines = [line.rstrip() for line in shown.get().splitlines()]
    assert "30 jobs running" in lines[0]
    assert ["acme", "30", "5", "6,000", "1m"] in [line.split() for line in lines]
    assert len(lines) <= 24
    assert ("… and 25 more" in lines, "… and 24 more" in lines) == (True, True)


def test_top_says_how_to_leave_it_where_it_stays(fl: Fairlane) -> None:
    nothing = Snapshot((), (), (), (), (), None)

    assert str(next(sections(nothing, 24))).startswith("fairlane top (Ctrl-C to leave)  ")
    assert str(next(sections(nothing, None))).startswith("fairlane top  ")


def test_top_says_how_long_a_worker_has_been_silent() -> None:
    now = datetime.now(UTC)
    killed = WorkerView(UUID(int=1), "w-1:17", None, (), 4, 1, now, now, 12.0, 3.0, stopping=False)
    working = replace(killed, id=UUID(int=2), name="w-1:18", silent=3.0, lease_left=12.0, stopping=True)
    screen = Console(file=io.StringIO(), width=80)

    with screen.capture() as shown:
        screen.print(*top.sections(Snapshot((), (), (), (killed, working), (), None), None))

    first, second = (line.split() for line in shown.get().splitlines() if "w-1" in line)
    assert (first[0], first[-3:]) == ("w-1:17", ["silent", "for", "12s"])
    assert (second[0], second[-1]) == ("w-1:18", "stopping")


def test_ctrl_c_leaves_top_without_breaking_into_a_look(fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look(_: Fairlane) -> Snapshot:
        looks.append("begun")
        os.kill(os.getpid(), signal.SIGINT)
        looks.append("done")
        return Snapshot((), (), (), (), (), None)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(top, "_look", look)
    screen = Console(file=io.StringIO(), force_terminal=True)

    with top._until_interrupted() as interrupted:
        top._watch(fl, screen, Snapshot((), (), (), (), (), None), 0.0, interrupted)

    assert looks == ["begun", "done"]
    assert signal.getsignal(signal.SIGINT) is before


def test_check_asks_the_application_s_own_directory(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosted.py").write_text(HOSTED)
    monkeypatch.syspath_prepend(tmp_path)
    findings = run("check", "--app", "hosted:wrong", "--json", code=1).json["findings"]
    (sentence,) = [one["sentence"] for one in findings if one["subject"] == "directory"]
    assert "`members` answered a NoneType instead of a mapping" in sentence
    assert "✓ directory" in run("check", "--app", "hosted:right", code=1).stdout


def test_whom_the_application_s_own_directory_knows_can_t_be_asked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asked.py").write_text(HOSTED)
    monkeypatch.syspath_prepend(tmp_path)
    run("migrate")
    run("queues", "pause", "default", "--user", "somebody", "--app", "asked:right")


HOSTED = """
from fairlane import Fairlane

class Right:
    def organizations(self, ids):
        return {}

    def members(self, pairs):
        return {}

class Wrong(Right):
    def members(self, pairs):
        return None

right, wrong = Fairlane(directory=Right()), Fairlane(directory=Wrong())
"""


def test_settings_of_the_api_are_looked_at_too_alone_and_together(
    fl: Fairlane, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FAIRLANE_PORT", "8001")
    monkeypatch.setenv("FAIRLANE_RATE_LIST", "none")
    monkeypatch.setenv("FAIRLANE_WEB_ORIGINS", "https://a.example,https://b.example")
    printed = " ".join(run("check", code=1).stdout.split())
    assert "✗ setting FAIRLANE_RATE_LIST=none is wrong: input should be a valid integer" in printed
    assert "✓ setting FAIRLANE_WEB_ORIGINS=https://a.example,https://b.example " in printed
    monkeypatch.delenv("FAIRLANE_RATE_LIST")
    monkeypatch.setenv("FAIRLANE_JWT_ISSUER", "https://id.example")
    printed = " ".join(run("check", code=1).stdout.split())
    assert "set jwt_issuer, jwt_audience and jwt_jwks_url, or none of them" in printed
