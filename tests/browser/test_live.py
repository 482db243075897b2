"""Changes are on the screen at once, also after the connection was away."""

import json
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, Response, Route, expect

from tests.browser.site import Site
from tests.patience import PATIENCE


def phase(page: Page, name: str) -> None:
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", name)


def bar(page: Page, job_type: str) -> Locator:
    """Return the progress bar of a job's own page: the overview's bar has the job's id in its name."""
    return page.get_by_role("progressbar", name=f"Progress of {job_type}", exact=True)


def test_what_happens_appears_without_asking(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme")
    phase(page, "live")
    expect(page.get_by_text("Nothing runs")).to_be_visible()
    site.gate.pages = 4
    site.submit()
    running = page.get_by_role("table", name="Jobs that run now")
    expect(running).to_contain_text("page 4 of 10")
    site.gate.pages = 100
    expect(page.get_by_text("Nothing runs")).to_be_visible()


def test_what_was_missed_while_the_server_was_away_is_caught_up_once_and_by_the_socket(
    enter: Callable[..., Page], site: Site
):
    page, heard = listening(enter, site, "ana", "o/acme")
    site.gate.pages = 2
    job = site.submit()
    page.get_by_role("link", name="report.render").click()
    expect(bar(page, "report.render")).to_have_attribute("aria-valuenow", "20")
    site.stop()
    phase(page, "polling")
    # Whatever is on the screen then, it has not asked for.
    page.route("**/api/v1/organizations/**", lambda route: route.abort())
    other = site.done(site.submit("report.fail"))
    site.gate.pages = 100
    site.done(job)
    site.start_again()
    phase(page, "live")
    expect(page.get_by_role("heading", name="How it ended")).to_be_visible()
    told = [data for name, data in events(heard) if name == "job_status_changed"]
    for one, statuses in {
        job: ["queued", "running", "completed"],
        other: ["queued", "running", "failed", "dead_letter"],
    }.items():
        steps = [(data["sequence"], data["to_status"]) for data in told if data["job_id"] == one]
        assert steps == list(enumerate(statuses, start=1))
    page.unroute_all()
    expect(page.get_by_label("Result")).to_contain_text('"pages": 10')


def test_where_no_websockets_are_passed_on_it_is_live_by_polling(enter: Callable[..., Page], site: Site):
    site.stop()
    site.start_again(websockets=False)
    page = enter("ana", "o/acme/jobs")
    phase(page, "live")
    job = site.submit("nobody.runs", delay=3600)
    expect(page.get_by_title(job)).to_be_visible()
    phase(page, "live")


def test_ten_thousand_reports_of_progress_end_at_the_last(enter: Callable[..., Page], site: Site):
    page, heard = listening(enter, site, "ana", "o/acme")
    job = site.submit("report.count", parameters={"rows": 10_000})
    page.get_by_role("link", name="report.count").click()
    expect(bar(page, "report.count")).to_have_attribute("aria-valuenow", "100")
    expect(page.get_by_text("row 10000 of 10000", exact=True)).to_be_visible()
    told = [data["percent"] for name, data in events(heard) if name == "job_progress" and data["job_id"] == job]
    assert told == sorted(told)
    assert len(told) < 500
    site.gate.pages = 1
    expect(page.get_by_role("heading", name="How it ended")).to_be_visible()
    phase(page, "live")


def test_who_is_removed_hears_nothing_more_and_goes_on_in_another_organization(enter: Callable[..., Page], site: Site):
    site.fl.members.add("globex", "ana", role="member")
    page, heard = listening(enter, site, "ana", "o/acme/jobs")
    site.fl.members.remove("acme", "ana")
    expect(page.get_by_text("There is no such organization, or you are not a member of it").first).to_be_visible()
    awaited(page, lambda: any('"revoked"' in line for line in heard))  # by socket it takes up to two seconds
    unseen = site.submit("nobody.runs", user="ben", delay=3600)
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to").fill("glob")
    expect(page.get_by_role("option").first).to_contain_text("Globex")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Globex")).to_be_visible()  # until then the links are of where one was
    page.get_by_role("link", name="Jobs", exact=True).click()
    phase(page, "live")
    seen = site.submit("nobody.runs", organization="globex", user="gil", delay=3600)
    expect(page.get_by_title(seen)).to_be_visible()
    # What was asked for as the events began may show it before they tell of it.
    told = awaited(page, lambda: [data["job_id"] for name, data in events(heard) if name == "job_status_changed"])
    assert told == [seen]
    assert not [line for line in heard if unseen in line]


def test_one_organization_hears_nothing_of_the_other(enter: Callable[..., Page], site: Site):
    heard, pages = {}, {}
    for user, organization in (("ana", "acme"), ("gil", "globex")):
        pages[user], heard[user] = listening(enter, site, user, f"o/{organization}/jobs")
    site.gate.pages = 100
    mine, theirs = site.submit(), site.submit(organization="globex", user="gil")
    for user, job in (("ana", mine), ("gil", theirs)):
        expect(pages[user].get_by_role("link", name="report.render")).to_be_visible()
        expect(pages[user].get_by_title(job)).to_be_visible()
        expect(pages[user].locator("tbody")).to_contain_text("completed")

    assert any(mine in line for line in heard["ana"])
    assert any(theirs in line for line in heard["gil"])
    assert not [line for line in heard["ana"] if theirs in line or "globex" in line or "gil" in line]
    assert not [line for line in heard["gil"] if mine in line or "acme" in line or '"ana"' in line]


def awaited(page: Page, found: Callable[[], Any]) -> Any:
    """Wait until `found` finds something in what a page has heard, and return it."""
    until = time.monotonic() + PATIENCE
    while not (something := found()):
        assert time.monotonic() < until, "it was never heard"
        page.wait_for_timeout(50)
    return something


def events(heard: list[str]) -> list[tuple[str, Any]]:
    """Return the events that came by socket."""
    told = [json.loads(line[2:]) for line in heard if line.startswith("42[")]
    return [(name, data) for name, data in told]


def listening(enter: Callable[..., Page], site: Site, user: str, path: str) -> tuple[Page, list[str]]:
    """A live page, and all that comes in, by HTTP and by socket."""
    page, heard = enter(user, "api/v1/health"), list[str]()
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(str(frame))))

    def on_response(response: Response) -> None:
        if "/api/v1/" in response.url and response.request.resource_type in {"fetch", "xhr"} and response.ok:
            heard.append(response.text())

    page.on("response", on_response)
    page.goto(f"{site.url}/{path}")
    phase(page, "live")
    return page, heard


def test_a_foreign_organization_looks_like_one_that_is_not_there(enter: Callable[..., Page], site: Site):
    job = site.submit(organization="globex", user="gil")
    for path in ("o/globex", "o/nowhere", f"o/globex/jobs/{job}"):
        page = enter("ana", path)
        expect(page.get_by_text("There is no such organization, or you are not a member of it").first).to_be_visible()
        assert "Globex" not in page.content()
    page = enter("ana", f"o/acme/jobs/{job}")
    expect(page.get_by_text("The organization has no such job")).to_be_visible()


def test_that_an_organization_is_not_there_stays_on_the_screen_while_one_asks_again(
    enter: Callable[..., Page], site: Site
):
    page = enter("ana", "api/v1/health")
    page.clock.install()
    page.goto(f"{site.url}/o/globex")
    told = page.get_by_text("There is no such organization, or you are not a member of it")
    expect(told).to_be_visible()
    unanswered: list[Route] = []
    page.route("**/globex/access", lambda route: unanswered.append(route))  # noqa: PLW0108 - Playwright takes no built-in
    # The page also asks when its socket is refused, at any time: then that question is the one that is open.
    page.clock.fast_forward(10_000)
    awaited(page, lambda: unanswered)
    page.evaluate("() => new Promise(requestAnimationFrame)")  # it has been drawn since
    assert told.is_visible()
    assert page.get_by_role("navigation", name="Menu").get_by_role("link").count() == 0
