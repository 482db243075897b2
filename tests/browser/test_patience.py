"""A reader beyond the rate limit is told so, and the answer comes by itself; old answers say that they are old."""

from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.browser.site import Site


def test_a_list_that_was_asked_for_too_often_is_shown_after_the_wait(enter: Callable[..., Page], site: Site):
    job = site.submit("nobody.runs", delay=3600)
    refused: list[str] = []

    def refuse_at_first(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.url)
        problem = '{"type": "urn:fairlane:problem:too-many-requests", "detail": "Too many.", "status": 429}'
        headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
        route.fulfill(status=429, headers=headers, body=problem)

    page = enter("ana", "o/acme/queues")
    page.route("**/api/v1/organizations/acme/jobs?*", refuse_at_first)
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_text("Too many requests; again in 1 s")).to_be_visible()
    expect(page.get_by_title(job)).to_be_visible()
    expect(page.get_by_text("Too many requests")).to_have_count(0)
    assert len(refused) == 1


def test_what_events_keep_fresh_is_not_asked_for_twice(enter: Callable[..., Page], site: Site):
    site.submit("nobody.runs", delay=3600)
    page = enter("ana", "o/acme/queues")
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/acme/jobs?" in request.url else None)
    for screen in ("Jobs", "Job types", "Jobs"):
        page.get_by_role("link", name=screen, exact=True).click()
        expect(page.get_by_role("heading", name=screen, exact=True)).to_be_visible()
        expect(page.get_by_role("table")).to_be_visible()
    assert len(asked) == 1


def test_a_list_that_can_not_be_refreshed_says_so_above_its_old_rows(enter: Callable[..., Page], site: Site):
    site.submit("nobody.runs", delay=3600)
    page = enter("ana", "o/acme/jobs", viewport={"width": 390, "height": 844})
    rows = page.get_by_role("table", name="Jobs").locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(page.locator("[data-phase=live]").get_by_text("·")).to_be_visible()
    page.route("**/api/v1/organizations/acme/jobs?*", lambda route: route.fulfill(status=500, body="{}"))
    site.submit("nobody.runs", delay=3600)
    told = page.get_by_role("alert")
    expect(told).to_have_text("Could not be refreshed. The server answered with 500; try again.")
    expect(rows).to_have_count(1)
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(rows).to_have_count(2)
    expect(told).to_have_count(0)


def test_a_first_screen_that_could_not_be_shown_is_tried_again(enter: Callable[..., Page], site: Site):
    page = enter("ana", "api/v1/health")
    page.route("**/api/v1/sessions/current", lambda route: route.fulfill(status=500, body="{}"))
    page.goto(f"{site.url}/o/acme/jobs")
    expect(page.get_by_role("alert")).to_contain_text("The server answered with 500")
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


def test_what_is_missing_says_why(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    job = site.done(site.submit())
    page = enter("ana", "o/acme/queues")
    for part in ("explanation", "history", "result", "artifacts"):
        page.route(f"**/jobs/{job}/{part}", lambda route: route.fulfill(status=500, body="{}"))
    page.route("**/job-counts*", lambda route: route.fulfill(status=500, body="{}"))
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The server answered with 500")
    page.get_by_title(job).click()
    for title in ("How it ended", "Attempts", "Result", "Files", "History"):
        card = page.locator("section", has=page.get_by_role("heading", name=title))
        expect(card.get_by_role("alert")).to_contain_text("The server answered with 500")
        expect(card.get_by_role("status", name="Loading")).to_have_count(0)


def test_what_could_not_be_asked_of_all_organizations_says_so(enter: Callable[..., Page], site: Site):
    page = enter("olga", "api/v1/health")
    page.clock.install()
    page.goto(f"{site.url}/operator/fairness")
    expect(page.get_by_text("Nothing happened in this time")).to_be_visible()
    page.route("**/operator/shares*", lambda route: route.fulfill(status=500, body="{}"))
    page.clock.fast_forward(10_000)
    expect(page.get_by_role("alert")).to_contain_text("Could not be refreshed")
    page.goto(f"{site.url}/operator")
    expect(page.get_by_role("alert")).to_contain_text("The server answered with 500")
    expect(page.get_by_role("table", name="Organizations")).to_be_visible()


def test_what_may_hold_jobs_back_says_so_where_it_is_not_known(enter: Callable[..., Page], site: Site):
    page = enter("olga", "api/v1/health")
    for question in ("**/breakers", "**/stranded-jobs"):
        page.route(question, lambda route: route.fulfill(status=500, body="{}"))
    for path in ("operator/job-types", "operator/workers", "o/acme/job-types"):
        page.goto(f"{site.url}/{path}")
        expect(page.get_by_role("alert")).to_contain_text("The server answered with 500")


def test_that_a_proxy_gets_no_answer_is_said_as_if_one_got_none(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme/jobs")
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    page.route("**/api/v1/**", lambda route: route.fulfill(status=502, body="<html>Bad Gateway</html>"))
    site.stop()
    told = page.get_by_text("No answer", exact=True)
    expect(told).to_be_visible()
    site.start_again()
    page.unroute_all()
    expect(told).to_have_count(0)
