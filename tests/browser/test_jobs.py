"""The list of jobs: filters in the address, counts, saved views, many at once."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from playwright.sync_api import Page, Route, expect

from fairlane.engine.system import bulk_steps, bulk_work
from fairlane.store.statements import bulk_actions
from tests.browser.site import Site


@pytest.fixture
def jobs(site: Site) -> Site:
    """Some that wait, one dead letter, one that has completed."""
    site.fl.queues.pause("parked")
    for _ in range(5):
        site.submit("nobody.runs")
    site.submit("nobody.runs", user="ben", labels={"document": "42"})
    site.done(site.submit("report.fail", parameters={"text": "no such table"}))
    site.gate.pages = 100
    site.done(site.submit())
    return site


def rows(page: Page):
    return page.get_by_role("table", name="Jobs").locator("tbody tr")


def test_what_waits_for_a_retry_says_when_that_is_and_is_found(enter: Callable[..., Page], jobs: Site):
    job = jobs.retrying()
    page = enter("ana", "o/acme/jobs")
    expect(rows(page)).to_have_count(9)
    told = re.compile("again in ([0-9]+ s|1 min)")
    expect(rows(page).filter(has=page.get_by_title(job))).to_contain_text(told)
    only = page.get_by_role("button", name="waiting for a retry")
    only.click()
    expect(page).to_have_url(re.compile("waiting_for=retry"))
    expect(only).to_have_attribute("aria-pressed", "true")
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_role("button", name=re.compile("^queued"))).to_contain_text("1")
    page.get_by_role("button", name="Cancel all…").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 job")
    page.keyboard.press("Escape")
    page.get_by_role("link", name=re.compile("report.fail")).click()
    expect(page.locator("main header").first).to_contain_text(told)
    jobs.fl.cancel(job, organization="acme")
    expect(page.locator("main header").first).to_contain_text("canceled")
    page.go_back()
    expect(page.get_by_text("No job fits this filter")).to_be_visible()
    only.click()
    expect(rows(page)).to_have_count(9)
    only.click()
    page.get_by_role("button", name=re.compile("^completed")).click()
    expect(only).to_have_attribute("aria-pressed", "false")
    expect(page).not_to_have_url(re.compile("waiting_for"))
    only.click()
    expect(page).not_to_have_url(re.compile("status="))


def test_a_filter_stands_in_the_address_and_the_counts_follow_it(enter: Callable[..., Page], jobs: Site):
    page = enter("ana", "o/acme/jobs")
    expect(rows(page)).to_have_count(8)
    queued = page.get_by_role("button", name=re.compile("^queued"))
    expect(queued).to_contain_text("6")
    queued.click()
    expect(rows(page)).to_have_count(6)
    expect(page).to_have_url(re.compile(r"status=queued"))

    page.get_by_role("button", name="More").click()
    page.get_by_label("User").fill("ben")
    expect(rows(page)).to_have_count(1)
    expect(queued).to_contain_text("1")
    expect(page).to_have_url(re.compile(r"user=ben"))

    page.reload()
    expect(rows(page)).to_have_count(1)
    page.go_back()
    expect(rows(page)).to_have_count(8)
    oldest = jobs.fl.list(organization="acme").items[-1]
    page.get_by_label("Order").select_option("oldest")
    expect(page).to_have_url(re.compile("order=oldest"))
    expect(rows(page).first.get_by_title(str(oldest.id))).to_be_visible()
    page.get_by_label("Search").fill("no such table")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("ValueError: no such table")


def test_a_view_is_saved_in_the_browser(enter: Callable[..., Page], jobs: Site):
    page = enter("ana", "o/acme/jobs?status=dead_letter")
    page.get_by_role("button", name="Save view").click()
    page.get_by_label("Name").fill("What failed")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Clear").click()
    expect(rows(page)).to_have_count(8)
    page.get_by_label("Saved views").select_option("What failed")
    expect(rows(page)).to_have_count(1)
    page.reload()
    expect(page.get_by_label("Saved views")).to_have_value("What failed")


def test_many_are_canceled_after_they_were_counted(enter: Callable[..., Page], jobs: Site):
    page = enter("ana", "o/acme/jobs?job_type=nobody.runs&status=queued")
    page.get_by_role("button", name="Cancel all").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("6 jobs will be changed")
    assert jobs.fl.list(organization="acme", status="canceled").total == 0
    dialog.get_by_role("button", name="Cancel 6 jobs").click()
    told = page.get_by_role("list", name="Bulk actions")
    expect(told).to_contain_text("6 jobs canceled or asked to stop.")
    expect(page.get_by_text("No job fits this filter")).to_be_visible()
    assert jobs.fl.list(organization="acme", status="canceled").total == 6
    told.get_by_role("button", name="Hide").click()
    expect(told).to_have_count(0)


def test_what_has_begun_takes_the_focus_from_nobody_who_writes(enter: Callable[..., Page], jobs: Site):
    page = enter("ana", "o/acme/jobs?job_type=nobody.runs&status=queued")
    opener = page.get_by_role("button", name="Cancel all")
    told = page.get_by_role("list", name="Bulk actions")
    late: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "GET":
            late.append(route)
        else:
            route.continue_()

    def cancel_all(number: int) -> None:
        page.route("**/bulk-actions?*", hold)
        opener.click()
        page.get_by_role("dialog").get_by_role("button", name=f"Cancel {number} job").click()
        expect(page.get_by_role("dialog")).to_have_count(0)

    def answer() -> None:
        while late:
            late.pop().continue_()
        page.unroute_all()

    cancel_all(6)
    page.get_by_label("Search").focus()
    answer()
    expect(told).to_contain_text("6 jobs canceled or asked to stop.")
    expect(page.get_by_label("Search")).to_be_focused()
    told.get_by_role("button", name="Hide").click()
    jobs.submit("nobody.runs")
    cancel_all(1)
    expect(opener).to_be_focused()
    answer()
    expect(told.get_by_role("listitem")).to_be_focused()


def test_what_a_colleague_does_with_many_is_seen_and_stopped(
    enter: Callable[..., Page], jobs: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    fl = jobs.fl
    begun = fl.bulk.start("cancel", {"job_type": "nobody.runs"}, organization="acme", user="ben", seconds=0.0)
    # Somebody is at it, and takes their time.
    later = datetime.now(UTC) + timedelta(seconds=1)
    fl.database.write(lambda connection: bulk_actions.take(connection, "acme", begun.id, later, uuid4()), of="acme")
    page = enter("ana", "o/acme/jobs")
    told = page.get_by_role("list", name="Bulk actions")
    expect(told).to_contain_text(
        "Canceling jobs (job type nobody.runs), begun by ben: 1 canceled or asked to stop so far."
    )
    told.get_by_role("button", name="Stop").click()
    expect(told).to_contain_text("Stopped by ana: 1 job canceled or asked to stop before.")
    assert fl.bulk.get(begun.id, organization="acme").stopped_by == "ana"


def test_chosen_ones_are_canceled_and_what_is_not_ones_own_is_refused(enter: Callable[..., Page], jobs: Site):
    page = enter("ben", "o/acme/jobs?status=queued")
    boxes = rows(page).get_by_role("checkbox")
    expect(boxes).to_have_count(6)
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("button", name="Cancel chosen").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel 2 jobs").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 job canceled or asked to stop. 1 job refused")


def test_what_is_chosen_stays_chosen_while_it_is_on_the_page_and_no_longer(enter: Callable[..., Page], jobs: Site):
    page = enter("ana", "o/acme/jobs?status=dead_letter")
    expect(rows(page)).to_have_count(1)
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(rows(page)).to_have_count(8)
    queued = rows(page).filter(has_text="queued").get_by_role("checkbox")
    queued.nth(0).check()
    queued.nth(1).check()
    page.get_by_role("button", name="Cancel chosen").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.go_back()
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_text("All that fit:")).to_be_visible()
    expect(page.get_by_text("chosen")).to_have_count(0)


def test_half_of_a_label_changes_nothing_and_says_how_one_is_written(enter: Callable[..., Page], jobs: Site):
    page = enter("ana", "o/acme/jobs")
    page.get_by_role("button", name="More").click()
    rows(page).first.get_by_role("checkbox").check()
    label = page.get_by_label("Label", exact=True)
    label.fill("document")
    expect(page.get_by_text("Write it as name=value.")).to_be_visible()
    asked: list[str] = []
    page.on("framenavigated", lambda frame: asked.append(frame.url))
    page.clock.install()
    page.clock.run_for(3_000)  # the page is drawn each second
    assert asked == []
    expect(page.get_by_text("1 chosen")).to_be_visible()
    label.fill("document=42")
    page.clock.run_for(1_000)
    expect(rows(page)).to_have_count(1)
    assert len(asked) == 1


def test_why_jobs_wait_is_looked_at_again_though_no_event_tells_of_it(enter: Callable[..., Page], jobs: Site):
    page = enter("ana")
    page.clock.install()
    page.goto(f"{jobs.url}/o/acme/jobs?status=queued")
    expect(rows(page).first).to_contain_text("queue parked is paused")
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    jobs.fl.organizations.pause("acme")
    page.clock.fast_forward(15_000)
    expect(rows(page).first).to_contain_text("the organization is paused")


def test_pages_follow_each_other_by_keyset(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("parked")
    for _ in range(60):
        site.submit("nobody.runs")
    page = enter("ana", "o/acme/jobs")
    expect(rows(page)).to_have_count(50)
    page.get_by_role("button", name="Next page").click()
    expect(rows(page)).to_have_count(10)
    expect(page).to_have_url(re.compile("cursor="))
    page.get_by_role("button", name="First page").click()
    expect(rows(page)).to_have_count(50)


def test_a_job_is_submitted_by_hand(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    page = enter("ana", "o/acme/jobs")
    page.get_by_role("button", name="Submit a job").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Job type").select_option("report.render")
    expect(dialog.get_by_label("What it takes")).to_contain_text("pages")
    dialog.get_by_label("Parameters").fill('{"pages": "many"}')
    dialog.get_by_role("button", name="Submit").click()
    expect(dialog.get_by_role("alert")).to_contain_text("pages")
    dialog.get_by_label("Parameters").fill('{"pages": 3}')
    dialog.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="report.render")).to_be_visible()
    expect(page.get_by_role("region", name="Result").or_(page.get_by_label("Result"))).to_contain_text('"pages": 3')


def test_rows_stand_still_while_somebody_is_about_to_click_one(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("default")
    first = [site.submit() for _ in range(2)]
    page = enter("ana", "o/acme/jobs")
    rows = page.get_by_role("table", name="Jobs").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    rows.first.hover()
    site.submit()
    more = page.get_by_role("button", name="1 new")
    expect(more).to_be_visible()
    expect(rows.first).to_contain_text(first[1][-8:])
    rows.first.get_by_role("checkbox").check()
    site.fl.cancel(first[1], organization="acme", user="ana")
    expect(rows.first).to_contain_text("canceled")  # it is shown as it is now
    page.mouse.move(0, 0)
    expect(rows).to_have_count(2)  # as one is ticked
    more.click()
    expect(rows).to_have_count(3)
    expect(page.get_by_text("1 chosen")).to_be_visible()
    page.get_by_role("button", name="Choose none").click()
    page.mouse.move(0, 0)  # where the button was are rows now
    site.submit()
    expect(rows).to_have_count(4)


def test_a_held_row_that_left_the_list_does_not_seem_to_run_for_ever(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("default")
    job = site.submit()
    page = enter("ana", "o/acme/jobs?status=queued")
    expect(rows(page)).to_have_count(1)
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    rows(page).first.hover()
    site.fl.queues.resume("default")
    expect(rows(page).first).to_contain_text("running")
    expect(rows(page).first).to_contain_text("moved on")
    expect(rows(page).first.get_by_text("running")).to_have_count(0)
    site.gate.pages = 100
    site.done(job)
    page.get_by_role("button", name="1 moved on").click()
    expect(page.get_by_text("No job fits this filter")).to_be_visible()


def test_rows_stand_still_while_an_answer_is_on_its_way(enter: Callable[..., Page], jobs: Site):
    jobs.fl.queues.pause("default")
    page = enter("ana")
    page.clock.install()
    page.goto(f"{jobs.url}/o/acme/jobs?since=1h")
    expect(rows(page)).to_have_count(8)
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)

    page.route("**/api/v1/organizations/acme/jobs?*", hold)
    queued = page.get_by_role("button", name=re.compile("^queued"))
    with page.expect_request(lambda request: "status=queued" in request.url):
        queued.click()
    rows(page).first.hover()  # of the list before
    for route in asked:
        route.continue_()
    page.unroute_all()
    expect(rows(page)).to_have_count(6)
    first = rows(page).first.inner_text()
    jobs.submit()
    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    page.route("**/api/v1/organizations/acme/jobs?*", lambda route: None)
    with page.expect_request(lambda request: "/acme/jobs?" in request.url):
        page.clock.fast_forward(60_000)  # what began in the last hour is another question each minute
    assert rows(page).first.inner_text().splitlines()[:3] == first.splitlines()[:3]
    expect(rows(page)).to_have_count(6)


def test_what_is_new_is_shown_by_a_button_that_can_be_seen_and_reached(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("default")
    for _ in range(30):
        site.submit()
    page = enter("ana", "o/acme/jobs", viewport={"width": 1280, "height": 600})
    expect(rows(page)).to_have_count(30)
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    rows(page).first.hover()
    site.submit()
    more = page.get_by_role("button", name="1 new")
    expect(more).to_be_visible()
    table = page.get_by_role("table", name="Jobs")
    table.get_by_role("columnheader", name="Submitted").hover()  # on the way
    more.hover()
    expect(rows(page)).to_have_count(30)
    more.click()
    expect(rows(page)).to_have_count(31)
    expect(page.get_by_role("region", name="List of jobs")).to_be_focused()

    rows(page).nth(25).hover()
    site.submit()
    expect(page.locator("[aria-live]", has_text="1 new")).to_have_count(1)
    expect(more).to_be_visible()
    box = more.bounding_box()
    assert box
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    top = page.evaluate("([x, y]) => document.elementFromPoint(x, y)?.textContent", middle)
    assert top == "1 new", "it is not behind the page's header"
