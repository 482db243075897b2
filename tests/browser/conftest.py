"""A real browser in front of the real dashboard: Chromium, driven by Playwright.

Playwright keeps its event loop in the thread that it was started in, where no asynchronous test could run meanwhile; so
it ends with each module of tests.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from fairlane.api.dashboard import is_built
from tests.browser.site import Site
from tests.needs import unable

# First the one that has no windows, as it does the same in two thirds of the processor's time.
NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM: Final = next(filter(None, map(shutil.which, NAMES)), None)
AXE: Final = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES: Final = Path(__file__).parents[2] / "build" / "screenshots"
# It starts as root, and asks nobody on the internet for anything.
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Only a failing test waits so long, on however busy a machine.
LONGEST: Final = 30_000  # milliseconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of a module."""
    if CHROMIUM is None:
        unable("There is no Chromium; on Debian `apt-get install chromium-headless-shell` brings it.")
    if not is_built():
        unable("The dashboard is not built; `make dashboard` builds it.")
    expect.set_options(timeout=LONGEST)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS) as made:
        yield made


@pytest.fixture
def site(sqlite_url: str) -> Iterator[Site]:
    """A served application with two organizations and a worker."""
    with Site(sqlite_url) as made:
        yield made


@pytest.fixture
def failures() -> list[str]:
    """Collect the errors of pages: scripts that failed, and what their policy refused."""
    return []


@pytest.fixture
def enter(browser: Browser, site: Site, failures: list[str]) -> Iterator[Callable[..., Page]]:
    """Open the dashboard as a user, in a browser of their own. A page on which something went wrong fails the test."""

    def open_as(user: str | None, path: str = "", **options: object) -> Page:
        context: BrowserContext = stack.enter_context(browser.new_context(reduced_motion="reduce", **options))  # type: ignore[arg-type]
        if user is not None:
            context.add_cookies([{"name": "fairlane_session", "value": site.session(user), "url": site.url}])
        page = context.new_page()
        page.set_default_timeout(LONGEST)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on(
            "console", lambda message: failures.append(message.text) if "Content Security" in message.text else None
        )
        page.goto(f"{site.url}/{path}")
        return page

    with ExitStack() as stack:
        yield open_as
    assert failures == []
