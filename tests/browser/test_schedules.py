"""Schedules: made by the form, seen in both time zones, paused, resumed, submitted by hand, and deleted."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Locator, Page, expect

from fairlane.domain.errors import ScheduleNotFound
from fairlane.domain.statuses import Role
from tests.browser.site import Site

READER = "Asia/Tokyo"


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """Serve the site on each database."""
    with Site(database_url) as made:
        yield made


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("table", name="Schedules").locator("tbody tr", has_text=name)


def told(ticks: tuple[datetime, ...], zone: str) -> list[str]:
    """Format ticks like the screen."""
    this = datetime.now(ZoneInfo(zone)).year
    local = [tick.astimezone(ZoneInfo(zone)) for tick in ticks]
    return [f"{at:%a} {at.day} {at:%b}{'' if at.year == this else f' {at.year}'} {at:%H:%M}" for at in local]


def test_a_schedule_from_the_form_to_its_end(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    page = enter("ana", "o/acme/schedules", timezone_id=READER)
    expect(page.get_by_text("No schedules yet")).to_be_visible()
    page.get_by_role("button", name="New schedule…").click()
    page.get_by_label("Name").fill("monthly")
    page.get_by_label("Job type").select_option("report.render")
    page.get_by_label("Cron expression").fill("30 6 1 * *")
    expect(page.get_by_role("dialog")).to_contain_text("at 06:30, on day 1 of each month")
    expect(page.get_by_label("Time zone")).to_have_value(READER)
    page.get_by_label("Time zone").fill("Europe/Zurich")
    page.get_by_label("Parameters").fill('{"pages": 2}')
    page.get_by_role("button", name="Create", exact=True).click()

    monthly = row(page, "monthly")
    expect(monthly).to_contain_text("report.render as ana")
    expect(monthly).to_contain_text("30 6 1 * * in Europe/Zurich")
    ticks = site.fl.schedules.get("monthly", organization="acme").next_ticks
    for zone in ("Europe/Zurich", READER):
        shown = monthly.get_by_role("list", name=f"Next ticks in {zone}").get_by_role("listitem")
        expect(shown).to_have_text(told(ticks, zone))

    page.get_by_role("button", name="Pause monthly").click()
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(monthly).to_contain_text("by ana")
    expect(monthly).to_contain_text("No ticks while it is paused")
    page.get_by_role("button", name="Resume monthly").click()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(monthly.get_by_role("listitem")).to_have_count(10)

    page.get_by_role("button", name="Submit now monthly").click()
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page).to_have_url(re.compile(r"/o/acme/jobs/[0-9a-f-]{36}$"))
    job = page.url.rpartition("/")[2]
    expect(page.get_by_role("heading", name="report.render")).to_be_visible()
    assert site.fl.get(job, organization="acme").labels == {"schedule": "monthly"}

    page.get_by_role("link", name="Schedules").click()
    monthly.get_by_role("link", name="monthly").click()
    expect(page.get_by_role("table", name="Jobs").locator("tbody tr")).to_have_count(1)
    page.go_back()
    page.get_by_role("button", name="Delete monthly").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("No schedules yet")).to_be_visible()
    with pytest.raises(ScheduleNotFound):
        site.fl.schedules.get("monthly", organization="acme")


def test_on_a_phone_the_next_tick_is_shown_and_the_others_when_the_reader_asks(enter: Callable[..., Page], site: Site):
    site.fl.schedules.put(
        "monthly", "report.render", organization="acme", cron="30 6 1 * *", time_zone="Europe/Zurich", as_user="ana"
    )
    page = enter("ana", "o/acme/schedules", timezone_id=READER, viewport={"width": 390, "height": 844})
    ticks = site.fl.schedules.get("monthly", organization="acme").next_ticks
    monthly = row(page, "monthly")
    expect(monthly.get_by_text(f"Next tick: {told(ticks, READER)[0]} in {READER}")).to_be_visible()
    expect(monthly.get_by_role("listitem")).to_have_count(0)
    monthly.get_by_text("Next tick:").click()
    expect(monthly.get_by_role("listitem")).to_have_count(10)


def test_what_the_form_does_not_show_stays(enter: Callable[..., Page], site: Site):
    before = site.fl.schedules.put(
        "hourly",
        "report.render",
        organization="acme",
        every=3600,
        start=datetime(2026, 11, 1, 8, 0, 0, 123, tzinfo=UTC),
        missed="all",
        as_user="ben",
        parameters={"title": "Of this hour"},
        queue="parked",
        priority="low",
        labels={"document": "42"},
    )
    page = enter("ana", "o/acme/schedules")
    page.get_by_role("button", name="Change hourly").click()
    page.get_by_label("Every", exact=True).fill("6")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_text("hourly was changed.")).to_be_visible()
    expect(row(page, "hourly")).to_contain_text("every 6 h")
    after = site.fl.schedules.get("hourly", organization="acme")
    assert after.timetable.every == 6 * 3600
    for name in ("parameters", "missed", "user", "queue", "priority", "labels"):
        assert getattr(after, name) == getattr(before, name)
    assert after.timetable.start == before.timetable.start


def test_what_the_server_refuses_it_says(enter: Callable[..., Page], site: Site):
    site.fl.schedules.put("nightly", "report.render", organization="acme", cron="0 3 * * *")
    page = enter("ana", "o/acme/schedules")
    page.get_by_role("button", name="New schedule…").click()
    page.get_by_label("Name").fill("nightly")
    page.get_by_label("Job type").select_option("report.render")
    page.get_by_label("Cron expression").fill("61 * * * *")
    create = page.get_by_role("button", name="Create", exact=True)
    create.click()
    expect(page.get_by_role("alert")).to_contain_text("There is a schedule nightly already")
    page.get_by_label("Name").fill("hourly")
    create.click()
    expect(page.get_by_role("alert")).to_contain_text("61 * * * *")
    assert [one.name for one in site.fl.schedules.list(organization="acme")] == ["nightly"]


def test_a_refused_tick_says_why_and_the_last_one_leads_to_its_job(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    site.fl.members.add("acme", "zoe", role=Role.MEMBER)
    site.fl.schedules.put("quick", "report.render", organization="acme", every=1, as_user="zoe")
    page = enter("ana", "o/acme/schedules")
    quick = row(page, "quick")
    expect(quick.get_by_title("Its job", exact=True).filter(visible=True)).to_be_visible()
    site.fl.members.remove("acme", "zoe")
    expect(quick).to_contain_text("Its ticks are refused")
    quick.get_by_title("Its job", exact=True).filter(visible=True).click()
    expect(page.get_by_role("heading", name="report.render")).to_be_visible()
    assert site.fl.schedules.get("quick", organization="acme").last_job is not None
    assert page.url.endswith(str(site.fl.schedules.get("quick", organization="acme").last_job))


@pytest.mark.parametrize(
    ("user", "deeds"),
    [("ana", ["Pause…", "Submit now…", "Change…", "Delete…"]), ("olga", ["Pause…", "Delete…"]), ("vic", [])],
)
def test_one_is_offered_what_one_may(enter: Callable[..., Page], site: Site, user: str, deeds: list[str]):
    site.fl.schedules.put(
        "nightly", "report.render", organization="acme", cron="0 3 * * *", parameters={"title": "Secret"}
    )
    page = enter(user, "o/acme/schedules")
    nightly = row(page, "nightly")
    expect(nightly.get_by_role("button")).to_have_text(deeds)
    expect(page.get_by_role("button", name="New schedule…")).to_have_count(1 if user == "ana" else 0)
    expect(nightly.get_by_text("Its parameters are hidden from you.")).to_have_count(0 if user == "ana" else 1)
