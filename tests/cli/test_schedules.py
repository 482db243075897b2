"""`fairlane schedules`."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fairlane import Fairlane, JobContext
from tests.cli.conftest import Run, running_worker
from tests.patience import PATIENCE

WEEKDAYS = ("--cron", "30 6 * * MON-FRI", "--time-zone", "Europe/Zurich")


def put(run: Run, name: str = "nightly", *options: str) -> str:
    return run("schedules", "put", name, "greet", "-o", "acme", *(options or WEEKDAYS)).stdout


def until_refused(fl: Fairlane) -> None:
    """Run a worker until a tick of the schedule `often` is refused."""
    worker = fl.worker()
    deadline = time.monotonic() + PATIENCE
    while fl.schedules.get("often", organization="acme").problem is None:
        assert time.monotonic() < deadline
        worker.drain()
        time.sleep(0.05)


@pytest.mark.usefixtures("fl")
def test_a_schedule_is_listed_with_when_it_goes_next_and_how_it_stands(run: Run) -> None:
    said = run("schedules", "list", "-o", "acme").stdout
    assert said.startswith("No schedules; create one:\n  fairlane schedules put NAME TYPE -o acme --cron")

    said = put(run)
    assert said.startswith("Schedule nightly is kept: 30 6 * * MON-FRI Europe/Zurich. Its next tick: ")
    assert "is kept: every 1 h 30 min." in put(run, "often", "--every", "1h30m")
    run("schedules", "pause", "often", "-o", "acme")

    header, nightly, often = (line.split() for line in run("schedules", "list", "-o", "acme").stdout.splitlines())
    assert header == ["NAME", "TYPE", "WHEN", "NEXT", "LAST", "STATE"]
    assert (nightly[:8], nightly[-3:]) == (
        ["nightly", "greet", "30", "6", "*", "*", "MON-FRI", "Europe/Zurich"],
        ["UTC", "no", "worker"],
    )
    assert often == ["often", "greet", "every", "1", "h", "30", "min", "paused"]
    assert [one["name"] for one in run("schedules", "list", "-o", "acme", "--json").json] == ["nightly", "often"]


def test_without_an_organization_the_schedules_of_all_are_listed(run: Run, fl: Fairlane) -> None:
    assert run("schedules", "list").stdout.startswith(
        "No schedules; create one:\n  fairlane schedules put NAME TYPE -o ORG"
    )
    fl.organizations.create("other")
    put(run)
    fl.schedules.put("hourly", "greet", organization="other", every=3600)

    header, *rows = (line.split() for line in run("schedules", "list").stdout.splitlines())
    assert header[:2] == ["ORG", "NAME"]
    assert [row[:2] for row in rows] == [["acme", "nightly"], ["other", "hourly"]]
    assert "no organization 'nobody'" in run("schedules", "list", "-o", "nobody", code=1).stderr


@pytest.mark.usefixtures("fl")
def test_show_has_the_next_five_ticks_in_the_zone_and_in_the_machines_if_that_differs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--as", "ana", "-p", "name=Ana", "-l", "team=a", "--priority", "high", "--missed", "all")
    put(run, "nightly", *WEEKDAYS, *options)

    def shown_in(zone: str) -> str:
        with monkeypatch.context() as there:
            there.setenv("TZ", zone)
            time.tzset()
            shown = run("schedules", "show", "nightly", "-o", "acme").stdout
        time.tzset()
        return shown

    shown, alike = shown_in("America/New_York"), shown_in("Europe/Zurich")
    facts = {" ".join(line.split()) for line in shown.splitlines()}
    assert {'parameters {"name": "Ana"}', 'labels {"team": "a"}', "priority high", "as user ana"} <= facts
    ticks = shown.partition("NEXT TICKS")[2].partition("\n\n")[0].splitlines()
    assert (ticks[0].strip(), len(ticks)) == ("ON THIS MACHINE", 6)
    assert all(" 06:30:00 CE" in line and line.rstrip().endswith(("EST", "EDT")) for line in ticks[1:])
    assert "ON THIS MACHINE" not in alike


@pytest.mark.usefixtures("fl")
def test_show_as_json_is_the_schedule_and_its_next_ticks(run: Run) -> None:
    put(run)
    shown = run("schedules", "show", "nightly", "-o", "acme", "--json").json
    assert (shown["name"], len(shown["next_ticks"])) == ("nightly", 5)


@pytest.mark.usefixtures("fl")
def test_put_says_all_anew_but_for_parameters_that_are_omitted(run: Run) -> None:
    put(run, "nightly", *WEEKDAYS, "-p", "name=Ana", "-l", "team=a")
    run("schedules", "pause", "nightly", "-o", "acme")

    assert put(run, "nightly", "--every", "6h") == "Schedule nightly is kept: every 6 h. It is paused.\n"
    kept = run("schedules", "show", "nightly", "-o", "acme", "--json").json
    assert (kept["parameters"], kept["labels"], kept["timetable"]["cron"]) == ({"name": "Ana"}, {}, None)

    put(run, "nightly", "--every", "6h", "--parameters", "{}", "--start", "2026-11-01T08:00+01:00")
    kept = run("schedules", "show", "nightly", "-o", "acme", "--json").json
    assert (kept["parameters"], kept["timetable"]["start"]) == ({}, "2026-11-01T07:00:00Z")


def test_ticks_that_are_due_say_so(run: Run, fl: Fairlane) -> None:
    start = datetime.now(UTC) + timedelta(seconds=0.2)
    fl.schedules.put("often", "greet", organization="acme", every=86_400, start=start, missed="all")
    while datetime.now(UTC) < start:
        time.sleep(0.05)
    first, second = run("schedules", "show", "often", "-o", "acme").stdout.partition("NEXT TICKS\n")[2].splitlines()[:2]
    assert first.endswith(" UTC, due")
    assert second.endswith(" UTC")


def test_a_pause_ends_by_resume(run: Run, fl: Fairlane) -> None:
    put(run)
    fl.users.create("ops", operator=True)
    assert run("schedules", "pause", "nightly", "-o", "acme", "-u", "ops").stdout == "Schedule nightly is paused.\n"
    shown = run("schedules", "show", "nightly", "-o", "acme").stdout
    assert "by ops" in shown
    assert "NEXT TICKS" not in shown
    assert run("schedules", "resume", "nightly", "-o", "acme").stdout.startswith("Schedule nightly goes on. Its next")
    assert "was not paused" in run("schedules", "resume", "nightly", "-o", "acme").stdout
    assert [one.action for one in fl.audit.list(organization="acme") if one.actor == "ops"] == ["schedules.pause"]


def test_submit_makes_one_of_its_jobs_now(run: Run, fl: Fairlane) -> None:
    put(run, "nightly", *WEEKDAYS, "--as", "ana", "-p", "name=Ana")
    job = fl.get(UUID(run("schedules", "submit", "nightly", "-o", "acme", "--json").json["id"]), organization="acme")
    assert (job.user, job.labels, job.parameters) == ("ana", {"schedule": "nightly"}, {"name": "Ana"})
    assert run("schedules", "submit", "nightly", "-o", "acme").stdout.endswith(" is queued.\n")


def test_a_schedule_says_that_no_worker_has_its_type(run: Run, fl: Fairlane) -> None:
    put(run)

    def states() -> list[str]:
        return [line.rpartition("  ")[2].strip() for line in run("schedules", "list").stdout.splitlines()]

    assert states() == ["STATE", "no worker"]
    assert "\nIts jobs do not start. No worker is alive. " in run("schedules", "show", "nightly", "-o", "acme").stdout
    with Fairlane(fl.settings) as other, running_worker(other):
        other.schedules.put("other", "useless", organization="acme", every=86_400)
        assert states() == ["STATE", "no worker", "ok"]
        assert "Its jobs do not start" not in run("schedules", "show", "other", "-o", "acme").stdout
        shown = run("schedules", "show", "nightly", "-o", "acme").stdout
    assert shown.endswith(
        "\nIts jobs do not start. No live worker that serves queue default has a handler for greet. "
        "The team that runs Fairlane has to start one whose application registers it.\n"
    )
    fl.schedules.pause("nightly", organization="acme")
    assert states() == ["STATE", "paused", "no worker"]


def test_a_schedule_is_deleted_once_it_is_sure(run: Run, fl: Fairlane) -> None:
    put(run)
    run("schedules", "delete", "nightly", "-o", "acme", answer="n\n", code=1)
    unanswered = run("schedules", "delete", "nightly", "-o", "acme", code=1)
    assert unanswered.stderr.endswith("\nError: Nobody is there to answer; use --yes.\n")
    assert run("schedules", "delete", "nightly", "-o", "acme", "--yes").stdout == "Schedule nightly is deleted.\n"
    assert fl.schedules.list(organization="acme") == ()


def test_a_tick_that_is_refused_is_shown_with_why_and_what_to_do(run: Run, fl: Fairlane) -> None:
    put(run, "often", "--every", "1s", "--as", "ana")
    fl.members.remove("acme", "ana")
    until_refused(fl)

    assert run("schedules", "list", "-o", "acme").stdout.split()[-1] == "PermissionDenied"
    shown = run("schedules", "show", "often", "-o", "acme").stdout
    assert "Its ticks are refused. PermissionDenied: ana is not a member of organization acme" in shown
    assert "\n  fairlane members add ana -o acme\n  fairlane schedules pause often -o acme\n" in shown


def test_parameters_that_no_longer_fit_are_named_without_their_values(run: Run, fl: Fairlane) -> None:
    put(run, "often", "--every", "1s", "-p", "name=zq-4711-wv")
    with Fairlane(fl.settings.url) as later:

        @later.job_type("greet")
        async def greet(ctx: JobContext, name: int) -> None: ...

        until_refused(later)

    listed = run("schedules", "list", "-o", "acme").stdout
    shown = run("schedules", "show", "often", "-o", "acme").stdout
    assert "InvalidParameters (name)" in listed
    assert "InvalidParameters (name): parameters of the schedule no longer fit" in shown
    checked = [one for one in run("check", "--json").json["findings"] if one["subject"] == "schedules"]
    assert [one["grade"] for one in checked] == ["note"]
    assert checked[0]["sentence"].startswith(
        "1 schedule has its ticks refused: often of acme; `fairlane schedules show"
    )
    assert "4711" not in listed + checked[0]["sentence"] + shown.replace('"name": "zq-4711-wv"', "")


@pytest.mark.usefixtures("fl")
def test_slips_are_refused_with_a_sentence(run: Run) -> None:
    def refused(*options: str, code: int, name: str = "nightly") -> str:
        outcome = run("schedules", "put", name, "greet", "-o", "acme", *options, code=code)
        return " ".join(outcome.stderr.split())

    assert "Give one of them: --cron" in refused(code=2)
    assert "Give one of them: --cron" in refused(*WEEKDAYS, "--every", "6h", code=2)
    assert "'6x' is no duration" in refused("--every", "6x", code=2)
    assert "'soon' is no time" in refused("--every", "6h", "--start", "soon", code=2)
    for none in ("2026-11-31", "2026-11-31T08:00+01:00", "2026-11-30T25:00"):
        assert f"There is no {none}; " in refused("--every", "6h", "--start", none, code=2)
    assert "can't be read: bad minute" in refused("--cron", "61 * * * *", code=1)
    assert "'Mars' is no time zone" in refused("--cron", "1 * * * *", "--time-zone", "Mars", code=1)
    assert "has no slash" in refused("--every", "6h", code=1, name="a/b")
    assert "fairlane members add bob -o acme" in refused("--every", "6h", "--as", "bob", code=1)
    assert "parameter 'name' must be a string" in refused("--every", "6h", "-p", "name=[7]", code=1)


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "submit", "delete"])
@pytest.mark.usefixtures("fl")
def test_a_schedule_that_is_not_there_is_a_slip(run: Run, verb: str) -> None:
    assert (
        "see which there are: fairlane schedules list -o acme"
        in run("schedules", verb, "none", "-o", "acme", code=1).stderr
    )
    assert "fairlane orgs create acm" in run("schedules", verb, "none", "-o", "acm", code=1).stderr
    assert "fairlane orgs create acm" in run("schedules", "list", "-o", "acm", code=1).stderr
