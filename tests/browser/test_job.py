"""The page of one job, while it runs and afterwards."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from fairlane import JobNotFound
from tests.browser.site import Site
from tests.browser.test_screens import barriers


def test_progress_and_log_lines_come_while_it_runs(enter: Callable[..., Page], site: Site):
    site.gate.pages = 3
    job = site.submit()
    page = enter("ana", f"o/acme/jobs/{job}")
    bar = page.get_by_role("progressbar", name="Progress of report.render")
    expect(bar).to_have_attribute("aria-valuenow", "30")
    expect(page.get_by_role("log")).to_contain_text("page 3 of Monthly report")
    site.gate.pages = 7
    expect(bar).to_have_attribute("aria-valuenow", "70")
    expect(page.get_by_role("log")).to_contain_text("page 7 of Monthly report")
    site.gate.pages = 100
    expect(page.get_by_label("Result")).to_contain_text('"pages": 10')
    with page.expect_download() as download:
        page.get_by_role("link", name="report.txt").click()
    assert download.value.path().read_text() == "Monthly report"


def test_a_running_job_is_canceled_and_says_so(enter: Callable[..., Page], site: Site):
    site.gate.pages = 1
    job = site.submit()
    page = enter("ana", f"o/acme/jobs/{job}")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("dialog").get_by_label("Why").fill("wrong month")
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_role("heading", name="How it ended")).to_be_visible()
    expect(page.get_by_text("It was canceled at")).to_contain_text("ana")
    expect(page.get_by_role("table", name="Each step")).to_contain_text("wrong month")
    expect(page.get_by_role("table", name="What people did to the job")).to_contain_text("cancel")


def test_a_waiting_job_is_rescheduled_given_a_priority_and_run_now(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    job = site.submit(delay=3600)
    page = enter("ana", f"o/acme/jobs/{job}", timezone_id="America/Los_Angeles", locale="en-US")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Reschedule…").click()
    assert barriers(page) == []
    expect(dialog).to_contain_text("America/Los_Angeles")
    dialog.get_by_label("Start no earlier than").fill("")
    expect(dialog.get_by_role("button", name="Reschedule")).to_be_disabled()
    dialog.get_by_label("Start no earlier than").fill("2199-12-30T16:00")
    dialog.get_by_role("button", name="Reschedule").click()
    expect(page.get_by_text("It starts no earlier than")).to_contain_text("30 Dec 2199")
    assert site.fl.get(job, organization="acme").run_at == datetime(2199, 12, 31, tzinfo=UTC)

    page.get_by_role("button", name="Priority…").click()
    assert barriers(page) == []
    expect(dialog.get_by_role("button", name="Change the priority")).to_be_disabled()
    dialog.get_by_label("Priority").select_option("critical")
    dialog.get_by_role("button", name="Change the priority").click()
    expect(page.locator("dd:not(table dd)").get_by_text("critical", exact=True)).to_be_visible()
    audited = page.get_by_role("table", name="What people did to the job")
    expect(audited).to_contain_text(re.compile("reschedule.*run at.*30 Dec 2199"))
    expect(audited).to_contain_text(re.compile("prioritize.*priority.*normal.*critical"))
    expect(audited).not_to_contain_text("status was")
    expect(audited).not_to_contain_text(str(job))

    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_label("Result")).to_contain_text('"pages": 10')
    steps = page.get_by_role("table", name="Each step")
    for told in ("rescheduled to", "priority changed from normal to critical", "run now"):
        expect(steps).to_contain_text(told)
    for name in ("Run now", "Reschedule…", "Priority…"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_only_who_may_is_offered_to_change_a_job_and_only_what_may_change(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("parked")
    ready = site.submit("nobody.runs")
    child, scheduled = site.submit("nobody.runs", depends_on=ready, delay=3600), site.submit(delay=3600)
    for user, job, run_now, other in (
        ("ana", ready, 0, 1),
        ("ana", child, 0, 1),
        ("ana", scheduled, 1, 1),
        ("ana", site.retrying(), 1, 1),
        ("ben", scheduled, 0, 0),
        ("vic", scheduled, 0, 0),
    ):
        page = enter(user, f"o/acme/jobs/{job}")
        expect(page.get_by_role("heading", name="Details")).to_be_visible()
        expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
        expect(page.get_by_role("button", name="Run now")).to_have_count(run_now)
        for name in ("Reschedule…", "Priority…"):
            expect(page.get_by_role("button", name=name)).to_have_count(other)


def test_a_dead_letter_shows_its_causes_and_runs_again_with_other_parameters(enter: Callable[..., Page], site: Site):
    job = site.done(site.submit("report.fail", parameters={"text": "no such table"}))
    page = enter("ana", f"o/acme/jobs/{job}")
    expect(page.get_by_text("ValueError: no such table").first).to_be_visible()
    cause = page.get_by_text("caused by")
    expect(cause).to_be_visible()
    cause.click()
    expect(page.get_by_label("Traceback").nth(1)).to_contain_text("KeyError")

    edit = page.get_by_role("button", name="Edit and retry")
    edit.click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(edit).to_be_focused()
    edit.press("Enter")
    box = page.get_by_role("dialog").get_by_label("Parameters")
    expect(box).to_have_value('{\n  "text": "no such table"\n}')
    box.fill("{")
    expect(page.get_by_role("dialog").get_by_role("button", name="Retry")).to_be_disabled()
    box.fill('{"text": "another table"}')
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.get_by_text("ValueError: another table").first).to_be_visible()
    expect(page.get_by_text("Attempt 2", exact=True)).to_be_visible()


def test_a_job_that_has_ended_is_deleted_and_one_is_led_to_the_list_without_it(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    job, other = (site.done(site.submit()) for _ in range(2))
    page = enter("ana", "o/acme/jobs")
    rows = page.get_by_role("table", name="Jobs").locator("tbody tr")
    expect(rows).to_have_count(2)
    rows.filter(has=page.locator(f'a[href$="{job}"]')).get_by_role("link").first.click()
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog", name="Delete this job?")
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Delete…").click()
    dialog.get_by_role("button", name="Delete the job").click()
    expect(page.get_by_text(re.compile(r"Job .+ was deleted\."))).to_be_visible()
    expect(page).to_have_url(re.compile("/o/acme/jobs$"))
    expect(rows).to_have_count(1)
    expect(rows.locator(f'a[href$="{other}"]')).not_to_have_count(0)
    with pytest.raises(JobNotFound):
        site.fl.get(job, organization="acme")


def test_only_who_has_the_right_is_offered_to_delete_and_only_what_has_ended(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    done = site.done(site.submit(user="ben"))
    site.fl.queues.pause("parked")
    waiting = site.submit("nobody.runs")
    for user, job, offers in (("ben", done, 0), ("vic", done, 0), ("ana", waiting, 0), ("olga", done, 1)):
        page = enter(user, f"o/acme/jobs/{job}")
        expect(page.get_by_role("heading", name="Details")).to_be_visible()
        expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
        expect(page.get_by_role("button", name="Delete…")).to_have_count(offers)


def test_the_parent_that_a_job_waits_for_is_a_link_to_its_page(enter: Callable[..., Page], site: Site):
    parent = site.submit(delay=3600)
    page = enter("ana", f"o/acme/jobs/{site.submit(depends_on=parent)}")
    page.get_by_text("It waits for its parent").get_by_role("link", name=parent).click()
    expect(page).to_have_url(f"{site.url}/o/acme/jobs/{parent}")


def test_a_parent_that_is_needed_is_not_deleted_and_the_dialog_says_by_which_job(
    enter: Callable[..., Page], site: Site
):
    site.gate.pages = 100
    site.fl.queues.pause("parked")
    parent = site.done(site.submit())
    live = site.submit("nobody.runs", depends_on=parent)
    page = enter("ana", f"o/acme/jobs/{parent}")
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete the job").click()
    expect(dialog.get_by_role("alert")).to_have_text(
        f"Job {live} depends on job {parent} and is queued: wait for or cancel that one first."
    )
    site.fl.cancel(live, organization="acme")
    dead = site.done(site.submit("report.fail", depends_on=parent))
    dialog.get_by_role("button", name="Delete the job").click()
    expect(dialog.get_by_role("alert")).to_have_text(
        f"Job {dead} depends on job {parent} and is dead_letter: resolve or delete that one first."
    )
    assert barriers(page) == []
    site.fl.dead_letters.resolve(dead, organization="acme")
    dialog.get_by_role("button", name="Delete the job").click()
    expect(page).to_have_url(re.compile("/o/acme/jobs$"))


def test_a_page_that_shows_a_job_says_that_it_was_deleted_once_the_reader_returns_to_it(
    enter: Callable[..., Page], site: Site
):
    site.gate.pages = 100
    job = site.done(site.submit())
    page = enter("ana", "o/acme/jobs")
    page.clock.install()
    page.goto(f"{site.url}/o/acme/jobs/{job}")
    expect(page.get_by_role("heading", name="How it ended")).to_be_visible()
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    site.fl.delete(job, organization="acme")
    page.clock.fast_forward(3_000)  # answers that are newer are not asked for again
    page.evaluate("window.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_text("This job was deleted")).to_be_visible()
    expect(page.get_by_role("heading", name="How it ended")).to_have_count(0)
    assert barriers(page) == []
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_text("No jobs yet")).to_be_visible()


def test_from_the_overview_clicks_lead_to_why_a_job_does_not_run(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("parked", reason="moving house")
    job = site.submit("nobody.runs")
    site.submit("nobody.runs")
    site.submit("nobody.runs", delay=3600)
    page = enter("ana")
    page.clock.install()
    page.goto(f"{site.url}/o/acme")
    page.get_by_role("link", name="Queued", exact=True).click()
    rows = page.get_by_role("table", name="Jobs").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("queue parked is paused")
    rows.first.get_by_role("link").click()
    expect(page).to_have_url(re.compile(job))
    expect(page.get_by_role("heading", name="Why is it not running?")).to_be_visible()
    expect(page.get_by_text("Queue parked is paused")).to_contain_text("moving house")
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    # No event of the job tells of it.
    site.fl.queues.pause("parked", reason="painting the walls")
    page.clock.fast_forward(10_000)
    expect(page.get_by_text("Queue parked is paused")).to_contain_text("painting the walls")


def test_payload_is_hidden_from_users_who_may_not_see_it(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    job = site.done(site.submit(parameters={"title": "salaries"}))
    page = enter("vic", f"o/acme/jobs/{job}")
    expect(page.get_by_text("What it was submitted with is hidden")).to_be_visible()
    expect(page.get_by_text("What it returned is hidden")).to_be_visible()
    expect(page.get_by_role("heading", name="Audit")).to_have_count(0)
    assert "salaries" not in page.content()
    for action in ("Cancel", "Retry", "Submit again"):
        expect(page.get_by_role("button", name=action)).to_have_count(0)
    mine = enter("ana", f"o/acme/jobs/{job}")
    expect(mine.get_by_label("Parameters")).to_contain_text("salaries")


def test_integers_stay_as_they_are_also_those_that_a_browser_would_round(enter: Callable[..., Page], site: Site):
    rows = 2**53 + 1
    job = site.submit("report.count", parameters={"rows": rows}, delay=3600)
    page = enter("ana", f"o/acme/jobs/{job}")
    page.route("**/acme/job-types", lambda route: None)  # its type can be submitted before the others have come
    expect(page.get_by_label("Parameters")).to_contain_text(f'"rows": {rows}')
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    page.get_by_role("button", name="Submit again").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Parameters")).to_have_value(re.compile(str(rows)))
    dialog.get_by_label("Delay in seconds").fill("3600")
    dialog.get_by_role("button", name="Submit").click()
    expect(page).not_to_have_url(re.compile(job))
    (again,) = site.fl.list(organization="acme", status="pending").items
    assert site.fl.get(again.id, organization="acme").parameters == {"rows": rows}


def test_moments_are_those_of_the_reader_s_clock_and_the_log_says_of_which_attempt(
    enter: Callable[..., Page], site: Site
):
    site.gate.pages = 100
    waiting, done = site.submit(delay=3600), site.done(site.submit())
    page = enter("ana", f"o/acme/jobs/{waiting}", timezone_id="America/Los_Angeles", locale="en-US")
    told = page.get_by_text("It starts no earlier than")
    expect(told).to_contain_text(re.compile(r"\d\d:\d\d:\d\d P[SD]T"))
    expect(told).not_to_contain_text("UTC")
    page.goto(f"{site.url}/o/acme/jobs/{done}")
    expect(page.get_by_role("log").get_by_text("Attempt 1 ·")).to_have_text(re.compile(r"\d\d:\d\d:\d\d P[SD]T"))


def test_how_far_a_running_job_is_and_that_it_is_asked_to_stop_is_said_once(enter: Callable[..., Page], site: Site):
    site.gate.pages = 1
    job = site.submit("report.stay")
    page = enter("ana", f"o/acme/jobs/{job}")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
    expect(page.get_by_text("has run it since")).to_have_count(0)
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("a handler in a thread can't be killed")).to_have_count(1)
    expect(page.get_by_text(re.compile("stops it|asked to stop it"))).to_have_count(1)
    site.gate.pages = 1_000


def test_a_dead_letter_is_resolved_on_its_own_page(enter: Callable[..., Page], site: Site):
    job = site.done(site.submit("report.fail"))
    page = enter("ana", f"o/acme/jobs/{job}")
    page.get_by_role("button", name="Resolve…").click()
    page.get_by_role("dialog").get_by_label("Note").fill("paid by hand")
    page.get_by_role("dialog").get_by_role("button", name="Mark as resolved").click()
    expect(page.get_by_text("It was resolved by ana: paid by hand")).to_be_visible()
    expect(page.get_by_role("table", name="What people did to the job")).to_contain_text("resolve")


def test_a_member_is_offered_what_they_may_do_with_a_job(enter: Callable[..., Page], site: Site):
    others, own = site.submit(delay=3600), site.submit(delay=3600, user="ben")
    page = enter("ben", f"o/acme/jobs/{others}")
    expect(page.get_by_role("heading", name="Why is it not running?")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel…")).to_have_count(0)
    expect(page.get_by_text("payload:read")).to_have_count(1)
    expect(page.get_by_role("heading", name="Log")).to_have_count(0)
    page.goto(f"{site.url}/o/acme/jobs/{own}")
    expect(page.get_by_role("button", name="Cancel…")).to_be_visible()
    expect(page.get_by_text("payload:read")).to_have_count(0)


def test_the_short_id_and_the_audit_lead_to_the_job(enter: Callable[..., Page], site: Site):
    job, _ = site.submit(delay=3600), site.submit(delay=3600)
    site.fl.cancel(job, organization="acme", user="ana")
    page = enter("ana", "o/acme/audit")
    page.get_by_role("table", name="Audit").get_by_role("link", name=job).click()
    expect(page).to_have_url(f"{site.url}/o/acme/jobs/{job}")
    page.goto(f"{site.url}/o/acme")
    page.get_by_role("button", name="Go to…").click()
    page.get_by_role("combobox", name="Go to").fill(job[-8:])
    page.get_by_role("option", name=f"report.render {job}").click()
    expect(page).to_have_url(f"{site.url}/o/acme/jobs/{job}")


def test_a_server_that_is_away_is_said_once(enter: Callable[..., Page], site: Site):
    site.gate.pages = 1
    job = site.submit()
    page = enter("ana", f"o/acme/jobs/{job}")
    expect(page.get_by_role("log")).to_contain_text("page 1 of")
    site.stop()
    expect(page.get_by_text("No answer", exact=True)).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("Could not be refreshed. The server does not answer")
    page.wait_for_timeout(6_000)  # milliseconds; all that the page asks for has failed by then
    expect(page.get_by_role("alert")).to_have_count(1)
    site.start_again()
    expect(page.get_by_text("No answer", exact=True)).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_on_a_phone_a_job_s_history_says_who_took_each_step(enter: Callable[..., Page], site: Site):
    parent = site.submit(delay=3600)
    job = site.submit(depends_on=[parent])
    page = enter("ana", f"o/acme/jobs/{job}", viewport={"width": 390, "height": 844})
    steps = page.get_by_role("table", name="Each step from one status to another")
    expect(steps.get_by_text("ana", exact=True).filter(visible=True)).to_be_visible()
    expect(page.get_by_text("Depends on", exact=True)).to_be_visible()


def test_a_history_keeps_words_whole_beside_a_long_error(enter: Callable[..., Page], site: Site):
    made = site.fl.submit("report.fail", organization="acme", parameters={"text": "the archive is broken " * 20})
    job = site.done(str(made.id))
    page = enter("ana", f"o/acme/jobs/{job}", viewport={"width": 1280, "height": 800})
    steps = page.get_by_role("table", name="Each step from one status to another")
    who = steps.get_by_text("system", exact=True).filter(visible=True).first
    lines = (
        "one => { const all = document.createRange(); all.selectNodeContents(one); return all.getClientRects().length }"
    )
    assert who.evaluate(lines) == 1


def test_on_a_phone_a_long_error_is_wrapped_in_the_history(enter: Callable[..., Page], site: Site):
    job = site.done(site.submit("report.fail", parameters={"text": "postgresql://" + "reports" * 20}))
    page = enter("ana", f"o/acme/jobs/{job}", viewport={"width": 390, "height": 844})
    steps = page.get_by_role("table", name="Each step from one status to another")
    expect(steps.get_by_text("reportsreports").first).to_be_visible()
    assert steps.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")


def test_on_a_phone_what_runs_now_stays_within_its_card(enter: Callable[..., Page], site: Site):
    site.gate.pages = 3
    site.submit()
    page = enter("ana", "o/acme", viewport={"width": 320, "height": 844})
    running = page.get_by_role("table", name="Jobs that run now")
    expect(running.get_by_text("page 3 of 10")).to_be_visible()
    page.clock.set_fixed_time(datetime.now(UTC) + timedelta(minutes=59, seconds=30))  # the widest "For"
    expect(running.get_by_text("59 min")).to_be_visible()
    assert running.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")


def test_on_a_phone_the_menu_closes_as_one_goes_on_and_leads_anywhere(enter: Callable[..., Page], site: Site):
    job = site.submit(delay=3600)
    page = enter("ana", "o/acme/jobs", viewport={"width": 390, "height": 844})
    menu, opens = page.get_by_role("navigation", name="Menu"), page.get_by_role("button", name="Menu")
    opens.click()
    expect(menu).to_be_visible()
    menu.get_by_role("link", name="Queues").focus()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(opens).to_be_focused()
    opens.click()
    page.get_by_title(job).click()
    expect(page.get_by_role("heading", name="Why is it not running?")).to_be_visible()
    expect(menu).to_be_hidden()
    page.go_back()
    expect(page.get_by_title(job)).to_be_visible()
    expect(menu).to_be_hidden()
    opens.click()
    menu.get_by_role("button", name="Go to…").click()
    expect(page.get_by_role("combobox", name="Go to")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opens).to_be_focused()


def test_an_operator_is_led_to_the_limit_that_holds_a_job_back(enter: Callable[..., Page], site: Site):
    site.fl.job_types.limit("report.render", max_running=0)
    job = site.submit()
    page = enter("olga", f"o/acme/jobs/{job}")
    told = page.get_by_text("An operator can see what uses this limit, and raise it.")
    told.get_by_role("link", name="Limits").click()
    expect(page).to_have_url(f"{site.url}/operator/job-types")
    mine = enter("ana", f"o/acme/jobs/{job}")
    expect(mine.get_by_text("An operator can see what uses this limit, and raise it.")).to_be_visible()
    expect(mine.get_by_role("link", name="Limits")).to_have_count(0)


def test_an_operator_is_led_to_what_is_paused_or_suspended(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("default")
    site.fl.job_types.pause("report.render")
    site.fl.organizations.pause("acme")
    job = site.submit()
    site.fl.organizations.suspend("acme")
    page = enter("olga", f"o/acme/jobs/{job}")
    for told, name, path in (
        ("Queue default is paused", "Queues", "queues"),
        ("Job type report.render is paused", "Job types", "job-types"),
        ("Organization acme is paused", "Organizations", ""),
        ("Organization acme is suspended", "Organizations", ""),
    ):
        reason = page.get_by_role("listitem").filter(has_text=told)
        there = f"/operator/{path}".rstrip("/")
        expect(reason.get_by_role("link", name=name)).to_have_attribute("href", there)
