"""Logging in, out, and by a one-time link."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.api.served import Server
from tests.browser.site import Site


def test_a_user_who_is_not_logged_in_logs_in_and_comes_to_where_they_wanted(enter: Callable[..., Page], site: Site):
    password = site.with_password("ana")
    page = enter(None, "o/acme/jobs?status=queued")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("User").fill("ana")
    page.get_by_label("Password").fill("wrong password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()

    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page).to_have_url(f"{site.url}/o/acme/jobs?status=queued")

    page.get_by_role("button", name="Account of ana").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in to Fairlane")).to_be_visible()
    page.goto(f"{site.url}/o/acme")
    expect(page).to_have_url(re.compile("/login"))


def test_a_one_time_link_logs_an_operator_in_once(enter: Callable[..., Page], site: Site):
    link = f"api/v1/login?link={site.fl.users.link('olga')}"
    page = enter(None, link)
    expect(page.get_by_role("heading", name="Organizations")).to_be_visible()
    expect(page.get_by_text("You act as an operator")).to_be_visible()

    again = enter(None, link)
    expect(again.get_by_role("alert")).to_contain_text("used already")


def test_the_organization_is_changed_by_a_few_letters(enter: Callable[..., Page], site: Site):
    site.fl.members.add("globex", "ana", role="viewer")
    page = enter("ana", "o/acme")
    expect(page.get_by_role("heading", name="Acme")).to_be_visible()
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to").fill("glob")
    expect(page.get_by_role("option").first).to_contain_text("Globex")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Globex")).to_be_visible()
    expect(page).to_have_url(f"{site.url}/o/globex")
    # It is where one lands from now on.
    page.goto(f"{site.url}/")
    expect(page.get_by_role("heading", name="Globex")).to_be_visible()


def test_it_works_below_a_path_of_another_application(enter: Callable[..., Page], site: Site):
    password = site.with_password("ana")
    server = Server(Starlette(routes=[Mount("/tools/jobs", site.app)]))
    site.gate.pages = 100
    job = site.done(site.submit())
    try:
        page = enter(None)
        page.goto(f"{server.url}/tools/jobs/o/acme/jobs")
        page.get_by_label("User").fill("ana")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{server.url}/tools/jobs/o/acme/jobs")
        expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
        page.get_by_role("link", name="report.render").click()
        expect(page).to_have_url(f"{server.url}/tools/jobs/o/acme/jobs/{job}")
        with page.expect_download() as download:
            page.get_by_role("link", name="report.txt").click()
        assert download.value.path().read_text() == "Monthly report"
        page.reload()
        expect(page.get_by_role("heading", name="report.render")).to_be_visible()
    finally:
        server.stop()


def test_one_changes_ones_password_and_stays_in(enter: Callable[..., Page], site: Site):
    new = "staple battery horse"
    old = site.with_password("ana")
    elsewhere = enter("ana", "o/acme/settings")
    page = enter("ana", "o/acme/settings")
    page.get_by_label("Current password").fill("not this one")
    page.get_by_label("New password").fill("too short")
    expect(page.get_by_role("button", name="Change password")).to_be_disabled()
    page.get_by_label("New password").fill(new)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("That is not your current password")).to_be_visible()
    page.get_by_label("Current password").fill(old)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Your password was changed")).to_be_visible()
    expect(page.get_by_label("New password")).to_have_value("")
    page.goto(f"{site.url}/o/acme/members")
    expect(page.get_by_role("table", name="Members")).to_be_visible()
    elsewhere.goto(f"{site.url}/o/acme/members")
    expect(elsewhere.get_by_role("button", name="Log in")).to_be_visible()
