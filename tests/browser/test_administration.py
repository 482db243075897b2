"""An admin manages members, tokens, the audit and the organization's name, and each reader has own settings."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from fairlane.domain.breaker import Breaker
from fairlane.domain.statuses import Role
from fairlane.store.statements import breakers
from tests.browser.site import Site
from tests.engine.worker_kit import until


def test_a_member_is_added_changed_and_removed(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme/members")
    page.get_by_role("button", name="Add a member…").click()
    page.get_by_label("User").fill("nia")
    page.get_by_label("Role").select_option("viewer")
    page.get_by_label("Sees parameters").check()
    page.get_by_label("Permissions").fill("reports, exports")
    page.get_by_role("button", name="Add", exact=True).click()
    row = page.get_by_role("table", name="Members").locator("tbody tr", has_text="nia")
    expect(row).to_contain_text("viewer")
    (nia,) = (one for one in site.fl.members.list("acme") if one.user == "nia")
    assert set(nia.permissions) == {"payload:read", "reports", "exports"}
    page.get_by_role("button", name="Change nia").click()
    page.get_by_label("Role").select_option("admin")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(row).to_contain_text("admin")
    page.get_by_role("button", name="Remove nia").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(row).to_have_count(0)
    assert Role.ADMIN in {one.role for one in site.fl.members.list("acme")}


def test_the_only_admin_is_warned_before_they_leave_and_is_let_in_again(enter: Callable[..., Page], site: Site):
    waiting = enter("ana", "o/acme/queues")
    expect(waiting.get_by_role("heading", name="Queues")).to_be_visible()
    page = enter("ana", "o/acme/members")
    page.get_by_role("button", name="Change ana").click()
    warning = page.get_by_text("You are the only admin: nobody but an operator could make you one again.")
    expect(warning).to_have_count(0)
    page.get_by_label("Role").select_option("viewer")
    expect(warning).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove ben").click()
    expect(page.get_by_role("dialog")).to_contain_text("They are out at once")
    expect(page.get_by_role("dialog")).not_to_contain_text("admin")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove ana").click()
    expect(page.get_by_role("dialog")).to_contain_text("This is you.")
    expect(warning).to_be_visible()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("You belong to no organization yet")).to_be_visible()
    expect(waiting.get_by_text("There is no such organization, or you are not a member of it")).to_be_visible()
    expect(waiting.get_by_role("navigation", name="Menu").get_by_role("link")).to_have_count(0)
    site.fl.members.add("acme", "ana", role="admin")
    expect(waiting.get_by_role("heading", name="Queues")).to_be_visible()


def test_the_browser_goes_a_page_back(enter: Callable[..., Page], site: Site):
    for number in range(60):
        site.fl.members.add("acme", f"user{number}")
    page = enter("ana", "o/acme/members")
    rows = page.get_by_role("table", name="Members").locator("tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Next page").click()
    expect(rows).to_have_count(13)
    expect(page).to_have_url(re.compile("cursor="))
    page.go_back()
    expect(rows).to_have_count(50)


def test_a_token_s_secret_is_shown_once_and_it_is_revoked(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme/tokens")
    page.get_by_role("button", name="New token…").click()
    page.get_by_label("What it is for").fill("nightly import")
    page.get_by_label("submit jobs").check()
    page.get_by_role("button", name="Create").click()
    secret = page.get_by_label("The token's secret").inner_text()
    page.get_by_role("button", name="Done").click()
    (token,) = site.fl.tokens.list(organization="acme")
    assert (secret[:3], set(token.scopes or ())) == ("fl_", {"jobs:read", "jobs:submit"})
    page.reload()
    expect(page.get_by_role("table", name="API tokens")).to_contain_text("nightly import")
    expect(page.locator("body")).not_to_contain_text(secret)
    page.get_by_role("button", name="Revoke nightly import").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("table", name="API tokens")).to_contain_text("revoked")


def test_the_audit_tells_who_did_what_and_is_exported(enter: Callable[..., Page], site: Site):
    site.fl.members.add("acme", "nia", user="ana")
    page = enter("ana", "o/acme/audit")
    expect(page.get_by_role("table", name="Audit").locator("tbody tr").first).to_contain_text("members.add")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    assert "members.add" in download.value.path().read_text(encoding="utf-8")


def test_who_may_not_does_not_see_what_is_for_admins(enter: Callable[..., Page], site: Site):
    page = enter("vic", "o/acme/members")
    expect(page.get_by_role("table", name="Members").locator("tbody tr")).to_have_count(3)
    expect(page.get_by_role("button", name="Add a member…")).to_have_count(0)
    expect(page.get_by_role("navigation", name="Menu").get_by_role("link", name="Audit")).to_have_count(0)
    page.goto(f"{site.url}/o/acme/audit")
    expect(page.get_by_role("alert")).to_contain_text("audit:read")


def test_the_organization_gets_another_name(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme/settings")
    page.get_by_label("Name").fill("Acme Ltd.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("banner")).to_contain_text("Acme Ltd.")
    assert site.fl.organizations.get("acme").name == "Acme Ltd."


def test_the_page_looks_as_its_reader_wants_it(enter: Callable[..., Page], site: Site):
    page = enter("vic", "o/acme/settings")
    page.get_by_label("Theme").select_option("dark")
    page.get_by_label("Tables").select_option("compact")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("html")).to_have_attribute("data-density", "compact")


def test_queues_and_job_types_lead_to_their_jobs(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("parked")
    site.submit("nobody.runs")
    page = enter("vic", "o/acme/queues")
    row = page.get_by_role("table", name="Queues").locator("tbody tr", has_text="parked")
    expect(row).to_contain_text("paused")
    row.get_by_role("link", name="parked").click()
    expect(page.get_by_role("table", name="Jobs").locator("tbody tr")).to_have_count(1)
    page.goto(f"{site.url}/o/acme/job-types")
    page.get_by_role("link", name="nobody.runs").click()
    expect(page.get_by_role("table", name="Jobs").locator("tbody tr")).to_have_count(1)


def test_job_types_say_how_their_attempts_went_of_late(enter: Callable[..., Page], site: Site):
    slow = site.done(site.submit("report.fail", parameters={"text": "no such table"}))
    until(lambda: site.fl.metrics(organization="acme").slowest)
    page = enter("vic", "o/acme/job-types")
    row = page.get_by_role("table", name="Job types").locator("tbody tr", has_text="report.fail")
    expect(row.get_by_role("cell").nth(2)).to_have_text("100 %")
    expect(row.get_by_role("cell").nth(1)).to_have_text(re.compile(r"[\d.]+ m?s\s*p95 [\d.]+ m?s"))
    page.get_by_label("Time", exact=True).select_option("1440")
    expect(page).to_have_url(re.compile("minutes=1440"))
    expect(row.get_by_role("cell").nth(2)).to_have_text("100 %")
    page.goto(f"{site.url}/o/acme")
    page.get_by_role("table", name="Slowest jobs lately").get_by_role("link", name="report.fail").click()
    expect(page).to_have_url(re.compile(slow))


def test_a_job_type_that_rests_says_why_and_until_when(enter: Callable[..., Page], site: Site):
    _, last = (site.done(site.submit("report.fail", parameters={"text": "no such table"})) for _ in range(2))
    site.submit("report.fail", max_retries=5)  # waits for its retry, as most do that opened the breaker
    now = datetime.now(UTC)
    breaker = Breaker("acme", "report.fail", now, now + timedelta(minutes=15))
    site.fl.database.write(lambda connection: breakers.open_one(connection, breaker), of="acme")
    page = enter("vic", "o/acme/job-types")
    told = page.get_by_role("paragraph").filter(has_text="Nothing of report.fail starts")
    expect(told).to_contain_text("One job is tried in 1")
    # What changes each second would be read aloud each second.
    expect(told.get_by_role("status")).to_have_text("Nothing of report.fail starts, as too much of it failed.")
    rows = page.get_by_role("table", name="Jobs").locator("tbody tr")
    told.get_by_role("link", name="dead letters").click()
    expect(rows).to_have_count(2)
    expect(rows.first.get_by_title(last)).to_be_visible()  # above what was there for months
    page.go_back()
    told.get_by_role("link", name="what waits").click()
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile("order=oldest"))


def test_what_holds_all_back_stands_where_one_looks_first(enter: Callable[..., Page], site: Site):
    site.done(site.submit("report.fail"))
    now = datetime.now(UTC)
    breaker = Breaker("acme", "report.fail", now, now + timedelta(minutes=15))
    site.fl.database.write(lambda connection: breakers.open_one(connection, breaker), of="acme")
    site.fl.queues.pause("default", user="olga", reason="the disk is full")
    site.fl.job_types.pause("nobody.runs")
    page = enter("vic", "o/acme")
    expect(page.get_by_role("heading", name="Dead letters")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="starts")).to_have_count(0)  # as nothing waits
    site.submit()
    for path in ("o/acme", "o/acme/queues"):
        page.goto(f"{site.url}/{path}")
        paused = page.get_by_role("status").filter(has_text="until an operator ends the pause")
        expect(paused).to_have_text(re.compile("^Nothing of queue default, job type nobody.runs starts .* the pause.$"))
        since = page.get_by_role("listitem").filter(has_text="paused by olga")
        expect(since).to_have_text(re.compile("queue default: paused by olga .*: the disk is full"))
        expect(page.get_by_role("status").filter(has_text="Nothing of report.fail starts")).to_be_visible()


def test_that_there_is_no_worker_for_jobs_stands_where_one_looks_first(enter: Callable[..., Page], site: Site):
    # The worker that runs already does not know of it.
    site.fl.job_type("elsewhere", dedup_window=0)(lambda ctx: None)
    for _ in range(2):
        site.submit("elsewhere")
    page = enter("vic", "o/acme")
    for path in ("o/acme", "o/acme/queues"):
        page.goto(f"{site.url}/{path}")
        missing = page.get_by_role("status").filter(has_text="No worker of queue default can run elsewhere")
        expect(missing).to_contain_text("2 jobs wait until such a one is started.")
    row = page.get_by_role("table", name="Queues").locator("tbody tr")
    expect(row).to_contain_text("2 jobs can't start: no worker can run elsewhere")
