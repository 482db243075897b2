"""Dialogs lose nothing, and what fails says so, with or without one."""

from collections.abc import Callable

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.site import Site

FAILED = "The server answered with 500; try again."


def fail(route: Route) -> None:
    route.fulfill(status=500, body="{}")


def beside(page: Page, dialog: Locator) -> tuple[float, float]:
    """A place at the left of a dialog."""
    box = dialog.bounding_box()
    assert box is not None
    return box["x"] / 2, box["y"] + box["height"] / 2


def mark_from(page: Page, field: Locator, to: tuple[float, float]) -> None:
    """Press in a field, and let go elsewhere."""
    box = field.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(*to, steps=3)
    page.mouse.up()


def test_text_that_is_marked_past_the_edge_of_a_dialog_stays(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme/jobs")
    page.get_by_role("button", name="Submit a job").click()
    dialog = page.get_by_role("dialog")
    parameters = dialog.get_by_label("Parameters")
    parameters.fill('{"pages": 3}')
    mark_from(page, parameters, beside(page, dialog))
    expect(parameters).to_have_value('{"pages": 3}')
    page.mouse.click(*beside(page, dialog))
    expect(dialog).to_have_count(0)
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Go to")
    box = palette.get_by_role("combobox")
    box.fill("aud")
    mark_from(page, box, beside(page, palette))
    expect(box).to_have_value("aud")
    page.mouse.click(*beside(page, palette))
    expect(palette).to_have_count(0)


def test_a_secret_is_there_until_its_reader_is_done(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme/tokens")
    page.get_by_role("button", name="New token…").click()
    page.get_by_label("What it is for").fill("nightly import")
    page.get_by_role("button", name="Create").click()
    secret, dialog = page.get_by_label("The token's secret"), page.get_by_role("dialog")
    expect(secret).to_be_visible()
    mark_from(page, secret, beside(page, dialog))
    page.mouse.click(*beside(page, dialog))
    for _ in range(3):
        page.keyboard.press("Escape")
    expect(secret).to_be_visible()
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_have_count(0)


def test_what_fails_says_so_without_a_dialog_and_after_one_was_closed(enter: Callable[..., Page], site: Site):
    site.fl.queues.pause("parked")
    site.submit("nobody.runs")
    page = enter("olga", "operator/queues")
    page.route("**/resumption", fail)
    page.get_by_role("button", name="Resume parked").click()
    expect(page.get_by_text(FAILED)).to_be_visible()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text(FAILED)).to_have_count(0)

    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/drain", hold)
    page.get_by_role("link", name="Workers", exact=True).click()
    page.get_by_role("button", name="Drain").click()
    with page.expect_request("**/drain"):
        page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    fail(held.pop())
    expect(page.get_by_text(FAILED)).to_be_visible()
    page.get_by_role("button", name="Dismiss").click()

    page.route("**/sessions/current", fail)
    page.get_by_role("button", name="Account of olga").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text(FAILED)).to_be_visible()


def test_a_form_stays_when_what_it_is_about_could_not_be_refreshed(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme/settings")
    name = page.get_by_label("Name")
    name.fill("Acme Ltd.")
    page.route(
        "**/api/v1/organizations/acme",
        lambda route: fail(route) if route.request.method == "GET" else route.continue_(),
    )
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_have_text(f"Could not be refreshed. {FAILED}")
    expect(name).to_have_value("Acme Ltd.")


def test_an_organization_that_is_suspended_is_not_called_paused(enter: Callable[..., Page], site: Site):
    site.fl.organizations.pause("acme")
    site.fl.organizations.suspend("acme")
    page = enter("ana", "o/acme/settings")
    expect(page.locator("main").get_by_text("suspended")).to_be_visible()
    expect(page.locator("main").get_by_text("paused")).to_have_count(0)
