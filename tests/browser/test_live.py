"""What happens is on the screen at once, also after the connection was away."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.site import Site


def phase(page: Page, name: str) -> None:
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", name)


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


def test_what_was_missed_while_the_server_was_away_is_caught_up(enter: Callable[..., Page], site: Site):
    site.gate.pages = 2
    job = site.submit()
    page = enter("ana", f"o/acme/jobs/{job}")
    phase(page, "live")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "20")
    site.stop()
    phase(page, "polling")
    site.gate.pages = 100
    site.done(job)
    site.start_again()
    phase(page, "live")
    expect(page.get_by_label("Result")).to_contain_text('"pages": 10')


def test_one_organization_hears_nothing_of_the_other(enter: Callable[..., Page], site: Site):
    heard: dict[str, list[str]] = {"ana": [], "gil": []}
    pages = {}
    for user, organization in (("ana", "acme"), ("gil", "globex")):
        page = enter(user)
        listen(page, heard[user])
        page.goto(f"{site.url}/o/{organization}/jobs")
        phase(page, "live")
        pages[user] = page
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


def listen(page: Page, heard: list[str]) -> None:
    """Write down all that comes in, by HTTP and by socket."""
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(str(frame))))

    def on_response(response) -> None:
        if "/api/v1/" in response.url and response.request.resource_type in {"fetch", "xhr"} and response.ok:
            heard.append(response.text())

    page.on("response", on_response)


def test_a_foreign_organization_looks_like_one_that_is_not_there(enter: Callable[..., Page], site: Site):
    job = site.submit(organization="globex", user="gil")
    for path in ("o/globex", "o/nowhere", f"o/globex/jobs/{job}"):
        page = enter("ana", path)
        expect(page.get_by_text("There is no such organization, or you are no member of it")).to_be_visible()
        assert "Globex" not in page.content()
    page = enter("ana", f"o/acme/jobs/{job}")
    expect(page.get_by_text("The organization has no such job")).to_be_visible()
