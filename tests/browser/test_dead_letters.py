"""Dead letters: by error, retried at a pace, decided about with a note, edited, deleted."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.site import Site

LETTERS = "o/acme/dead-letters"


@pytest.fixture
def letters(site: Site) -> list[str]:
    """Three jobs with one error; what is retried of them waits."""
    found = [site.done(site.submit("report.fail", parameters={"text": "no such table"})) for _ in range(3)]
    site.fl.job_types.pause("report.fail")
    return found


def groups(page: Page) -> Locator:
    return page.get_by_role("table", name="Dead letters by error").locator("tbody tr")


def rows(page: Page) -> Locator:
    return page.get_by_role("table", name="Dead letters with this error").locator("tbody tr")


def choose(page: Page, number: int) -> None:
    for row in range(number):
        rows(page).nth(row).get_by_role("checkbox").check()


def open_group(page: Page) -> None:
    page.get_by_role("link", name="ValueError").click()
    expect(rows(page)).to_have_count(3)


def test_from_the_overview_clicks_lead_to_all_with_one_error_which_are_retried_at_a_pace(
    enter: Callable[..., Page], site: Site, letters: list[str]
):
    page = enter("ana", "o/acme")
    page.get_by_role("link", name="3 open").click()
    expect(groups(page)).to_have_count(1)
    expect(groups(page)).to_contain_text("no such table")
    page.get_by_role("button", name="Retry ValueError of report.fail").click()
    pace = page.get_by_label("Jobs each second")
    pace.fill("0")
    expect(page.get_by_role("button", name="Retry 3 jobs")).to_be_disabled()
    pace.fill("0.01")
    expect(page.get_by_role("dialog")).to_contain_text("ready after 3 min 20 s")
    page.get_by_role("button", name="Retry 3 jobs").click()
    told = page.get_by_role("list", name="Bulk actions")
    expect(told).to_contain_text("3 jobs queued again.")
    expect(page.get_by_text("No dead letters")).to_be_visible()
    expect(told.get_by_role("listitem")).to_be_focused()
    told.get_by_role("link", name="See how they stand").click()
    expect(rows(page)).to_have_count(3)
    expect(rows(page).first).to_contain_text("queued")
    retried = [site.fl.get(job, organization="acme") for job in letters]
    assert {job.status for job in retried} == {"queued"}
    assert sum(job.next_retry_at is not None for job in retried) == 2, "one at once, the others later"


def test_only_of_the_first_page_it_is_said_that_its_first_is_the_newest(enter: Callable[..., Page], site: Site):
    cause = site.submit("report.fail")
    for job in [site.submit("nobody.runs", depends_on=[cause]) for _ in range(51)]:
        site.done(job)
    page = enter("ana", LETTERS)
    groups(page).filter(has_text="nobody.runs").get_by_role("link").click()
    expect(page.get_by_text("For example, in the newest one:")).to_be_visible()
    page.get_by_role("button", name="Next page").click()
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_text("For example, in the first one on this page:")).to_be_visible()


def test_a_group_is_of_one_type_until_all_that_have_its_error_are_asked_for(enter: Callable[..., Page], site: Site):
    cause = site.submit("report.fail")
    for job in [site.submit(job_type, depends_on=[cause]) for job_type in ("report.render", "nobody.runs")]:
        site.done(job)
    page = enter("ana", LETTERS)
    expect(groups(page)).to_have_count(3)
    groups(page).filter(has_text="nobody.runs").get_by_role("link").click()
    expect(rows(page)).to_have_count(1)
    expect(page).to_have_url(re.compile("job_type=nobody.runs"))
    page.get_by_role("button", name="Retry all 1…").click()
    expect(page.get_by_role("dialog")).to_contain_text("None of the nobody.runs that failed with this")
    expect(page.get_by_role("dialog")).to_contain_text("follow when the parent is retried")
    expect(page.get_by_role("button", name="Retry 0 jobs")).to_be_disabled()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="Show all types with this error").click()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("button", name="Retry all 2…").click()
    expect(page.get_by_role("dialog")).to_contain_text("None of the jobs of every type that failed with this")


def test_what_is_not_a_members_own_is_told_as_refused_and_holds_up_nothing(enter: Callable[..., Page], site: Site):
    for user in ("ben", "ana", "ben"):
        site.done(site.submit("report.fail", user=user))
    site.fl.job_types.pause("report.fail")
    page = enter("ben", LETTERS)
    page.get_by_role("button", name="Retry ValueError of report.fail").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 of 3 report.fail that failed with this")
    page.get_by_role("button", name="Retry 2 jobs").click()
    told = page.get_by_role("list", name="Bulk actions")
    expect(told).to_contain_text("2 jobs queued again. 1 job refused:")
    expect(told).to_contain_text("ask an admin of acme")
    expect(groups(page).get_by_role("cell").nth(1)).to_have_text("1")


def test_what_was_decided_stands_there_with_its_note(enter: Callable[..., Page], letters: list[str]):
    page = enter("ana", LETTERS)
    open_group(page)
    choose(page, 2)
    page.get_by_role("button", name="Resolve…").click()
    page.get_by_label("Note").fill("The table is back.")
    page.get_by_role("button", name="Mark as resolved").click()
    expect(page.get_by_text("2 jobs resolved.")).to_be_visible()
    expect(rows(page)).to_have_count(1)
    page.get_by_label("What was decided").select_option("resolved")
    expect(page).to_have_url(re.compile("decided=resolved"))
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("by ana")
    expect(rows(page).first).to_contain_text("The table is back.")
    page.get_by_role("link", name="← All dead letters").click()
    expect(page).to_have_url(re.compile("decided=resolved"))


def test_one_is_edited_and_retried(enter: Callable[..., Page], site: Site, letters: list[str]):
    page = enter("ana", LETTERS)
    open_group(page)
    page.get_by_role("button", name="Edit and retry").first.click()
    parameters, retry = page.get_by_label("Parameters"), page.get_by_role("button", name="Retry with these")
    expect(parameters).to_have_value(re.compile("no such table"))
    parameters.fill('{"text": ')
    expect(retry).to_be_disabled()
    expect(page.get_by_text("This is not JSON")).to_be_visible()
    parameters.fill(json.dumps({"text": 3}))
    retry.click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    parameters.fill(json.dumps({"text": "another table"}))
    retry.click()
    expect(rows(page)).to_have_count(2)
    expect(page.get_by_role("link", name="Show it")).to_have_attribute("href", re.compile(letters[2]))
    jobs = [site.fl.get(job, organization="acme") for job in letters]
    assert [job.parameters for job in jobs if job.status == "queued"] == [{"text": "another table"}]


def test_each_says_what_went_wrong_with_it_to_users_who_may_read_that(enter: Callable[..., Page], site: Site):
    for parcel in (1, 2):
        site.done(site.submit("report.fail", user="ben", parameters={"text": f"parcel {parcel} is too heavy"}))
    site.done(site.submit("report.fail", user="ana", parameters={"text": "parcel 3 is too heavy"}))
    page = enter("ben", LETTERS)
    open_group(page)
    expect(rows(page).nth(2)).to_contain_text("parcel 1 is too heavy")
    expect(rows(page).nth(1)).to_contain_text("parcel 2 is too heavy")
    expect(page.locator("main")).not_to_contain_text("parcel 3")


def test_some_are_deleted_after_a_question(enter: Callable[..., Page], site: Site, letters: list[str]):
    page = enter("ana", LETTERS)
    open_group(page)
    page.get_by_role("checkbox", name="Choose all on this page").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Close").click()
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 3 jobs").click()
    expect(page.get_by_text("None are left here")).to_be_visible()
    assert site.fl.list(organization="acme").total == 0


def test_a_member_may_decide_about_their_own_and_delete_none(enter: Callable[..., Page], site: Site):
    site.done(site.submit("report.fail", user="ben"))
    page = enter("ben", LETTERS)
    page.get_by_role("link", name="ValueError").click()
    choose(page, 1)
    expect(page.get_by_role("button", name="Resolve…")).to_be_visible()
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)


def test_what_is_chosen_is_not_chosen_in_another_view(enter: Callable[..., Page], site: Site, letters: list[str]):
    site.fl.dead_letters.ignore(letters[0], organization="acme", user="ana")
    page = enter("ana", LETTERS)
    page.get_by_role("link", name="ValueError").click()
    expect(rows(page)).to_have_count(2)
    choose(page, 2)
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.get_by_label("What was decided").select_option("ignored")
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_text("chosen")).to_have_count(0)
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)


def test_the_overview_shows_the_newest_open_ones_and_counts_them_anew(
    enter: Callable[..., Page], site: Site, letters: list[str]
):
    site.fl.dead_letters.ignore(letters[2], organization="acme", user="ana")
    page = enter("ana", "o/acme")
    newest = page.get_by_role("table", name="The newest dead letters").locator("tbody tr")
    expect(newest).to_have_count(2)
    expect(newest.first.get_by_role("link")).to_have_attribute("href", re.compile(letters[1]))
    page.get_by_role("link", name="2 open").click()
    page.get_by_role("link", name="ValueError").click()
    choose(page, 1)
    page.get_by_role("button", name="Resolve…").click()
    page.get_by_role("button", name="Mark as resolved").click()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("link", name="1 open")).to_be_visible()
    expect(newest).to_have_count(1)


def test_one_that_falls_meanwhile_appears(enter: Callable[..., Page], site: Site):
    page = enter("ana", LETTERS)
    expect(page.get_by_text("No dead letters")).to_be_visible()
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    site.done(site.submit("report.fail"))
    expect(groups(page)).to_have_count(1)


def test_who_may_not_change_them_sees_no_buttons_for_it(enter: Callable[..., Page], letters: list[str]):
    page = enter("vic", LETTERS)
    expect(groups(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    open_group(page)
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.locator("main")).not_to_contain_text("no such table")


def test_a_job_whose_parent_was_deleted_says_so_and_offers_no_retry(enter: Callable[..., Page], site: Site):
    parent = site.done(site.submit("report.fail"))
    child = site.done(site.submit("nobody.runs", depends_on=[parent]))
    for job in (parent, child):
        site.fl.dead_letters.resolve(job, organization="acme")
    site.fl.delete(parent, organization="acme")
    page = enter("ana", f"o/acme/jobs/{child}")
    expect(page.get_by_text("A parent of it was deleted, so it can't be retried: submit it anew.")).to_be_visible()
    expect(page.get_by_role("button", name="Submit again")).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    page.goto(f"{site.url}/{LETTERS}?decided=resolved")
    groups(page).get_by_role("link").first.click()
    expect(rows(page)).to_contain_text("Parent deleted: submit it anew.")
    expect(page.get_by_role("button", name="Edit and retry")).to_have_count(0)


def test_a_job_whose_parent_is_a_dead_letter_offers_the_way_to_it_and_no_retry(enter: Callable[..., Page], site: Site):
    parent = site.done(site.submit("report.fail"))
    child = site.done(site.submit("report.render", depends_on=[parent]))
    page = enter("ana", f"o/acme/jobs/{child}")
    way = page.get_by_role("link", name="Show its parent")
    expect(way).to_be_visible()
    expect(page.get_by_role("button", name="Resolve…")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("[Rr]etry|Submit again"))).to_have_count(0)
    way.click()
    expect(page).to_have_url(f"{site.url}/o/acme/jobs/{parent}")
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_visible()


def test_a_group_says_its_error_s_type_once(enter: Callable[..., Page], letters: list[str]):
    page = enter("ana", LETTERS)
    expect(groups(page)).to_contain_text("ValueErrorfor example no such table")
