"""Screens, wide and narrow, light and dark, have no barrier that axe finds, and nothing reaches past the edge.

The pictures are kept in build/screenshots.
"""

from collections.abc import Callable
from typing import Final, Literal

import pytest
from playwright.sync_api import Page, expect

from tests import depth
from tests.browser.conftest import AXE, PICTURES
from tests.browser.site import Site
from tests.needs import unable

PARTS: Final = 2  # side by side, where there are several workers of tests
# The rules of WCAG 2.2, level AA, and what axe holds for good practice beside them. One of the rules is off by default.
AXE_RUN: Final = "() => axe.run(document, { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } })"
# Those that go by colours, of which alone light and dark have others.
AXE_RUN_COLOURS: Final = (
    "() => axe.run(document, { resultTypes: ['violations'], runOnly: ['color-contrast', 'link-in-text-block'] })"
)
# Of these a short run sees the first two: both widths and both schemes, each by all rules.
WAYS: Final[tuple[tuple[int, int, Literal["light", "dark"], str], ...]] = (
    (1280, 800, "light", AXE_RUN),
    (390, 844, "dark", AXE_RUN),
    (390, 844, "light", AXE_RUN_COLOURS),
    (1280, 800, "dark", AXE_RUN_COLOURS),
)
WAYS_SEEN: Final = depth.far(2, 4, 4)


@pytest.fixture
def busy(site: Site) -> dict[str, str]:
    """An organization with something of everything; the addresses of its screens."""
    site.gate.pages = 100
    done = site.done(
        site.submit(labels={"document": "42", "tick": "2026-11-27T12:26:00+00:00"}, parameters={"title": "November"})
    )
    failed = site.done(site.submit("report.fail", parameters={"text": "no such table: archive_2026"}))
    for month in range(1, 9):
        site.done(site.submit(parameters={"title": f"Month {month}"}, user="ben"))
    site.fl.queues.pause("parked", reason="maintenance")
    retrying, waiting = site.retrying(), site.submit("nobody.runs")
    site.submit("nobody.runs", user="ben")
    site.gate.pages = 6
    running = site.submit(parameters={"title": "December"})
    site.submit(parameters={"title": "Year"}, user="ben")
    return {
        "overview": "o/acme",
        "jobs": "o/acme/jobs",
        "jobs-filtered-empty": "o/acme/jobs?status=canceled",
        "job-running": f"o/acme/jobs/{running}",
        "job-completed": f"o/acme/jobs/{done}",
        "job-dead": f"o/acme/jobs/{failed}",
        "job-waiting": f"o/acme/jobs/{waiting}",
        "job-retrying": f"o/acme/jobs/{retrying}",
        "jobs-waiting-for-a-retry": "o/acme/jobs?waiting_for=retry",
        "operator": "operator",
    }


@pytest.mark.parametrize("part", range(PARTS))
def test_screens_have_no_barriers(enter: Callable[..., Page], busy: dict[str, str], part: int):
    found: list[str] = []
    for name, path in list({"login": "login", **busy}.items())[part::PARTS]:
        user = None if name == "login" else "olga" if name == "operator" else "ana"
        found += seen_in_all_ways(enter, name, user, path)
    assert not found, "\n".join(found)


def test_a_screen_may_be_loaded_in_the_dark(enter: Callable[..., Page], busy: dict[str, str]):
    page = enter("ana", busy["overview"], color_scheme="dark")
    settled(page, "overview")
    assert barriers(page, AXE_RUN_COLOURS) == []


def test_the_palette_and_dialogs_have_no_barriers(enter: Callable[..., Page], busy: dict[str, str]):
    page = enter("ana", busy["jobs"])
    settled(page, "jobs")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog").get_by_role("option").first).to_be_visible()
    found = barriers(page)
    page.screenshot(path=PICTURES / "palette.png")
    page.keyboard.press("Escape")
    for name in ("Submit a job", "Cancel all…"):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        found += barriers(page)
        page.screenshot(path=PICTURES / f"dialog-{name.split()[0].lower()}.png")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert found == []


def settled(page: Page, name: str) -> None:
    """Everything that the screen asks for is there."""
    expect(page.get_by_role("heading").first).to_be_visible()
    if name != "login":
        expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)


def seen_in_all_ways(enter: Callable[..., Page], name: str, user: str | None, path: str) -> list[str]:
    """Return the faults of a screen in the first of `WAYS`, and keep pictures of it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    page = enter(user, path, color_scheme="light")
    settled(page, name)
    for width, height, scheme, rules in WAYS[:WAYS_SEEN]:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        way = f"{name}-{width}-{scheme}"
        page.screenshot(path=PICTURES / f"{way}.png", full_page=True)
        found += [f"{way}: {one}" for one in barriers(page, rules)]
        found += [f"{way} is {over} px wider than the screen" for over in [overflow(page)] if over > 0]
    page.context.close()
    return found


def barriers(page: Page, rules: str = AXE_RUN) -> list[str]:
    if not AXE.exists():
        unable("axe-core is not installed; `make dashboard` brings it.")
    if not page.evaluate("'axe' in window"):  # not by a script element, which the page's policy refuses
        page.evaluate(AXE.read_text(encoding="utf-8"))
    return [
        f"{one['id']}: {one['help']}: {[(node['html'][:160], node['failureSummary']) for node in one['nodes'][:3]]}"
        for one in page.evaluate(rules)["violations"]
    ]


def overflow(page: Page) -> int:
    width: int = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width
