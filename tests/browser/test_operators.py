"""Operators' screens: who uses the workers, workers to drain, queues and types to pause and limit, organizations."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from fairlane.domain.breaker import Breaker
from fairlane.domain.statuses import JobStatus
from fairlane.store.statements import breakers
from tests.browser.site import Site
from tests.engine.worker_kit import until

PATHS = ("", "overview", "fairness", "dead-letters", "workers", "queues", "job-types", "users", "tokens", "audit")


@pytest.mark.parametrize("path", PATHS)
def test_they_are_for_operators(enter: Callable[..., Page], path: str):
    page = enter("ana", f"operator/{path}")
    expect(page.get_by_text("This part is for operators")).to_be_visible()


def test_a_crowd_is_named_while_others_wait(enter: Callable[..., Page], site: Site):
    # As many as the worker has slots run until the gate opens.
    (worker,) = site.fl.reads.workers()
    for _ in range(worker.slots + 8):
        site.submit()
    until(lambda: site.fl.metrics(organization="acme").jobs_by_status[JobStatus.RUNNING] >= worker.slots - 1)
    for _ in range(3):
        site.submit(organization="globex", user="gil")
    page = enter("olga", "operator/fairness")
    named = page.get_by_role("status").filter(has_text="has most of the jobs that run")
    expect(named).to_contain_text(re.compile("acme has most of the jobs that run: .* 1 other organization waits for"))
    rows = page.get_by_role("table", name="Organizations by what they used").locator("tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_label("Time", exact=True).select_option("240")
    expect(page).to_have_url(re.compile("minutes=240"))


def test_nobody_is_a_crowd_whose_jobs_are_held_while_no_slot_is_taken(enter: Callable[..., Page], site: Site):
    # The worker that runs already does not know of it.
    site.fl.job_type("elsewhere", dedup_window=0)(lambda ctx: None)
    for _ in range(9):
        site.submit("elsewhere")
    site.submit("elsewhere", organization="globex", user="gil")
    site.gate.pages = 100
    site.done(site.submit())
    page = enter("olga", "operator/fairness")
    expect(page.get_by_text("No organization waits behind another")).to_be_visible()
    rows = page.get_by_role("table", name="Organizations by what they used").locator("tbody tr")
    expect(rows.filter(has_text="acme")).to_contain_text("and 9 held back")
    expect(page.get_by_role("img", name=re.compile("Shares of the workers' time"))).to_be_visible()
    page.get_by_text("10 jobs are held back").get_by_role("link", name="overview").click()
    expect(page).to_have_url(re.compile("operator/overview"))


def test_dead_letters_of_all_lead_to_each_organizations_own(enter: Callable[..., Page], site: Site):
    site.done(site.submit("report.fail", parameters={"text": "a secret"}))
    for _ in range(2):
        site.done(site.submit("report.fail", organization="globex", user="gil"), "globex")
    site.gate.pages = 1
    running = site.submit(organization="globex", user="gil")
    page = enter("olga", "operator/overview")
    expect(page.locator("[data-phase=live]")).to_have_attribute("title", re.compile("every 5 to 30 seconds"))
    expect(page.get_by_role("table", name="Jobs that run longest")).to_contain_text(running[-8:])
    page.get_by_role("term").get_by_role("link", name="Dead letters").click()
    rows = page.get_by_role("table", name="Dead letters by organization and error").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("globex")
    expect(rows.first.get_by_role("cell").nth(2)).to_have_text("2")
    expect(page.locator("main")).not_to_contain_text("a secret")
    rows.first.get_by_role("link", name="ValueError").click()
    expect(page.get_by_role("table", name="Dead letters with this error").locator("tbody tr")).to_have_count(2)
    expect(page).to_have_url(re.compile("/o/globex/dead-letters/"))


def test_the_overview_says_why_jobs_wait_and_leads_there(enter: Callable[..., Page], site: Site):
    page = enter("olga", "operator/overview")
    expect(page.get_by_role("term").get_by_role("link")).to_have_count(5)
    expect(page.locator("dl")).not_to_contain_text("…")  # the numbers are there
    expect(page.get_by_role("status")).to_have_count(0)
    site.fl.job_type("elsewhere", dedup_window=0)(lambda ctx: None)
    site.submit("elsewhere")
    site.fl.queues.pause("parked")
    now = datetime.now(UTC)
    breaker = Breaker("globex", "report.fail", now, now + timedelta(minutes=15))
    site.fl.database.write(lambda connection: breakers.open_one(connection, breaker), of="globex")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    told = page.get_by_role("status")
    missing = told.filter(has_text="No worker of queue default can run elsewhere: 1 job waits")
    expect(missing.get_by_role("link", name="Workers")).to_be_visible()
    expect(told.filter(has_text="Nothing of report.fail of globex starts")).to_be_visible()
    assert not [url for url in asked if "stranded" in url], "the queues say it, and are asked anyway"
    told.filter(has_text="Nothing starts from parked").get_by_role("link", name="Queues").click()
    expect(page).to_have_url(re.compile("operator/queues"))
    site.stop_worker()
    page.goto(f"{site.url}/operator/overview")
    expect(told.filter(has_text="No worker is alive")).to_be_visible()
    page.get_by_role("term").get_by_role("link", name="Running").click()
    expect(page.get_by_text("No worker is alive", exact=True)).to_be_visible()


def test_a_worker_is_asked_to_drain(enter: Callable[..., Page], site: Site):
    page = enter("olga", "operator/workers")
    row = page.get_by_role("table", name="Workers").locator("tbody tr")
    expect(row).to_contain_text("alive")
    (worker,) = site.fl.reads.workers()
    assert worker.version is not None
    expect(row).to_contain_text(worker.version)
    page.get_by_role("button", name="Drain").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(page.get_by_text("was asked to drain")).to_be_visible()
    assert [one.action for one in site.fl.audit.list(organization=None)][:1] == ["workers.drain"]


def test_a_queue_is_paused_with_a_reason_and_resumed(enter: Callable[..., Page], site: Site):
    waiting = site.submit("nobody.runs", delay=3600)
    page = enter("olga", "operator/queues")
    page.get_by_role("button", name="Pause parked").click()
    page.get_by_label("Reason").fill("maintenance")
    page.get_by_role("button", name="Pause", exact=True).click()
    row = page.get_by_role("table", name="Queues").locator("tbody tr", has_text="parked")
    expect(row).to_contain_text("paused")
    assert site.fl.queues.names() == {"parked"}
    assert site.fl.get(waiting, organization="acme").status == "pending"
    page.get_by_role("button", name="Resume parked").click()
    expect(page.get_by_role("button", name="Pause parked")).to_be_visible()
    assert site.fl.queues.names() == frozenset()


def test_maintenance_mode_is_turned_on_and_off_and_everybody_sees_it(enter: Callable[..., Page], site: Site):
    member, stranger = enter("vic", "o/acme/jobs"), enter("gil", "o/globex")
    operator = enter("olga", "operator/workers")
    operator.get_by_role("button", name="Maintenance mode…").click()
    operator.get_by_label("Reason").fill("a new release")
    operator.get_by_role("dialog").get_by_role("button", name="Turn on").click()
    for page in (operator, member, stranger):
        banner = page.get_by_role("complementary", name="Maintenance mode")
        expect(banner).to_contain_text("Maintenance mode is on: no job starts, running jobs finish.")
        expect(banner).to_contain_text(re.compile("olga turned it on .*: a new release"))
        expect(banner.get_by_role("link", name="Turn it off")).to_have_count(1 if page is operator else 0)
    site.gate.pages = 100
    job = site.submit()
    expect(member.get_by_role("row", name=re.compile(job[-8:]))).to_contain_text("maintenance mode is on")
    member.goto(f"{site.url}/o/acme/jobs/{job}")
    expect(member.get_by_text("No job starts until an operator turns it off")).to_be_visible()
    operator.goto(f"{site.url}/operator/queues")
    operator.get_by_role("link", name="Turn it off").click()
    operator.get_by_role("button", name="Turn maintenance mode off").click()
    for page in (operator, member, stranger):
        expect(page.get_by_role("complementary", name="Maintenance mode")).to_have_count(0)
    site.done(job)


def test_a_job_type_is_limited_and_disabled(enter: Callable[..., Page], site: Site):
    page = enter("olga", "operator/job-types")
    page.get_by_role("button", name="Limits of report.render").click()
    page.get_by_label("Organization", exact=True).fill("acme")
    page.get_by_label("At once").fill("many")
    expect(page.get_by_role("button", name="Set")).to_be_disabled()
    page.get_by_label("At once").fill("2")
    page.get_by_label("Starts").fill("30")
    page.get_by_label("Within any").select_option("hour")
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_role("dialog").get_by_role("listitem").filter(has_text="acme")).to_contain_text(
        "at most 2 at once, 30 starts in 1 h"
    )
    limits = site.fl.job_types.limits(name="report.render")
    assert [(one.organization, one.max_running, one.execution_rate, one.execution_rate_window) for one in limits] == [
        (None, None, None, 60),
        ("acme", 2, 30, 3600),
    ]
    page.get_by_role("button", name="Reset the limit of acme").click()
    expect(page.get_by_role("button", name="Reset the limit of acme")).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Disable report.render").click()
    expect(page.get_by_role("dialog")).to_contain_text("of every organization")
    assert all(one.enabled for one in site.fl.job_types.list()), "it is asked for"
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(page.get_by_role("button", name="Enable report.render")).to_be_visible()


def test_a_limit_keeps_what_nobody_changes(enter: Callable[..., Page], site: Site):
    site.fl.job_types.limit("report.render", max_running=1)
    page = enter("olga", "operator/job-types")
    page.get_by_role("button", name="Limits of report.render").click()
    set_it = page.get_by_role("button", name="Set", exact=True)
    expect(page.get_by_label("At once")).to_have_value("1")
    expect(set_it).to_be_disabled()
    page.get_by_label("Starts").fill("30")
    set_it.click()
    all_together = page.get_by_role("dialog").get_by_role("listitem")
    expect(all_together).to_contain_text("at most 1 at once, 30 starts in 1 min")
    expect(page.get_by_label("Starts")).to_have_value("30")
    expect(set_it).to_be_disabled()
    page.get_by_label("At once").fill("")
    set_it.click()
    expect(all_together).not_to_contain_text("at once")
    page.get_by_label("Starts").fill("")
    expect(set_it).to_have_count(0)
    page.get_by_role("button", name="Lift the limit").click()
    expect(all_together).to_contain_text("unlimited")
    (limit,) = site.fl.job_types.limits(name="report.render")
    assert (limit.max_running, limit.execution_rate) == (None, None)


def test_limits_are_set_for_the_organization_that_was_typed_whatever_changes_meanwhile(
    enter: Callable[..., Page], site: Site
):
    site.fl.job_types.limit("report.render", organization="globex", max_running=4)
    page = enter("olga", "operator/job-types")
    page.get_by_role("button", name="Limits of report.render").click()
    organization = page.get_by_label("Organization", exact=True)
    organization.fill("acme")
    page.get_by_label("At once").fill("2")
    page.get_by_role("button", name="Set", exact=True).click()
    acme = page.get_by_role("dialog").get_by_role("listitem").filter(has_text="acme")
    expect(acme).to_contain_text("at most 2 at once")
    expect(organization).to_be_focused()
    expect(organization).to_have_value("acme")
    page.get_by_label("Starts").fill("30")
    page.get_by_role("button", name="Reset the limit of globex").click()
    expect(page.get_by_role("button", name="Reset the limit of globex")).to_have_count(0)
    expect(page.get_by_label("Starts")).to_have_value("30")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(acme).to_contain_text("at most 2 at once, 30 starts in 1 min")
    limits = site.fl.job_types.limits(name="report.render")
    assert [(one.organization, one.max_running, one.execution_rate) for one in limits] == [
        (None, None, None),
        ("acme", 2, 30),
    ]


def test_job_types_say_which_limit_holds_and_which_their_application_says(enter: Callable[..., Page], site: Site):
    site.fl.job_types.limit("report.render", max_running=30)
    site.fl.job_types.limit("report.render", organization="acme", max_running=2)
    for user, path in (("olga", "operator/job-types"), ("vic", "o/acme/job-types"), ("gil", "o/globex/job-types")):
        page = enter(user, path)
        row = page.get_by_role("table", name="Job types").locator("tbody tr", has_text="report.render")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            for said, times in (
                ("at most 30 at once", 1),
                ("the application says: none", 1),
                ("here: at most 2 at once", 1 if user == "vic" else 0),
            ):
                expect(row.get_by_text(said).locator("visible=true")).to_have_count(times)


def test_an_organization_is_created_limited_suspended_and_deleted(enter: Callable[..., Page], site: Site):
    page = enter("olga", "operator")
    page.get_by_role("button", name="New organization…").click()
    page.get_by_label("Id").fill("initech")
    page.get_by_label("Name").fill("Initech")
    page.get_by_label("Weight").fill("0")
    expect(page.get_by_role("button", name="Create")).to_be_disabled()
    page.get_by_label("Weight").fill("3")
    page.get_by_role("button", name="Create").click()
    row = page.get_by_role("table", name="Organizations").locator("tbody tr", has_text="Initech")
    expect(row).to_be_visible()
    assert site.fl.organizations.get("initech").weight == 3
    page.get_by_label("More with Initech").select_option("suspend")
    page.get_by_role("dialog").get_by_role("button", name="Suspend").click()
    expect(row).to_contain_text("suspended")
    page.get_by_label("More with Initech").select_option("delete")
    delete = page.get_by_role("dialog").get_by_role("button", name="Delete")
    expect(delete).to_be_disabled()
    page.get_by_label("Its id, to be sure").fill("initech")
    delete.click()
    expect(page.get_by_text("Initech was deleted.")).to_be_visible()
    page.get_by_label("Find").fill("glob")
    expect(page.get_by_role("table", name="Organizations").locator("tbody tr")).to_have_count(1)


def test_organizations_say_what_they_have_in_line(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("parked")
    for _ in range(3):
        site.submit("nobody.runs", organization="globex", user="gil")
    page = enter("olga", "operator")
    rows = page.get_by_role("table", name="Organizations").locator("tbody tr")
    for name, running, ready in (("Acme", "0", "0"), ("Globex", "0", "3")):
        expect(rows.filter(has_text=name).get_by_role("cell").nth(1)).to_have_text(running)
        expect(rows.filter(has_text=name).get_by_role("cell").nth(2)).to_have_text(ready)


def test_users_and_operators_tokens(enter: Callable[..., Page], site: Site):
    page = enter("olga", "operator/users")
    page.get_by_role("button", name="New user…").click()
    page.get_by_label("User", exact=True).fill("otto")
    page.get_by_label("Password").fill("short")
    expect(page.get_by_role("button", name="Create")).to_be_disabled()
    page.get_by_label("Password").fill("long enough for anybody")
    page.get_by_label("Operator: looks after all organizations").check()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("table", name="Users").locator("tbody tr", has_text="otto")).to_contain_text("operator")
    page.goto(f"{site.url}/operator/tokens")
    page.get_by_role("button", name="New token…").click()
    page.get_by_label("What it is for").fill("monitoring")
    page.get_by_role("button", name="Create").click()
    secret = page.get_by_label("The token's secret").inner_text()
    assert secret.startswith("fl_")
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("table", name="API tokens")).to_contain_text("monitoring")
    expect(page.locator("body")).not_to_contain_text(secret)
    page.goto(f"{site.url}/operator/audit")
    expect(page.get_by_role("table", name="Audit")).to_contain_text("otto")
