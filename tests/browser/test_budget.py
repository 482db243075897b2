"""The first look at the busiest screens stays within a budget. It is counted and not timed, for busy machines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from playwright.sync_api import Page, expect

from fairlane import WebSettings
from tests.browser.site import Site
from tests.browser.test_screens import settled

# All that the browser has kept of the page's load: what it fetched, what moved, and what was the largest thing drawn.
MEASURE: Final = """() => new Promise((done) => {
  const kept = { "layout-shift": [], "largest-contentful-paint": [] };
  const tell = () => done({
    fetched: [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
      .map(({ name, transferSize }) => [name, transferSize]),
    nodes: document.querySelectorAll("*").length,
    shift: kept["layout-shift"].filter((one) => !one.hadRecentInput).reduce((sum, one) => sum + one.value, 0),
    largest: kept["largest-contentful-paint"].map(({ size }) => size),
  });
  for (const type of Object.keys(kept))
    new PerformanceObserver((list) => kept[type].push(...list.getEntries())).observe({ type, buffered: true });
  // What is buffered is told in tasks of their own, before the next frame.
  requestAnimationFrame(() => setTimeout(tell));
})"""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a screen may take. `questions`: different addresses of the API that it asks.

    Each screen asks three of them: who the user is, a ticket for the socket, and maintenance mode.
    """

    questions: int
    files: int
    kilobytes: int
    nodes: int


BUDGETS: Final = {
    "o/acme": Budget(questions=9, files=12, kilobytes=250, nodes=400),
    "o/acme/jobs": Budget(questions=9, files=12, kilobytes=250, nodes=1_500),
    "o/acme/jobs/{job}": Budget(questions=12, files=12, kilobytes=250, nodes=500),
    "o/acme/dead-letters": Budget(questions=6, files=12, kilobytes=250, nodes=300),
}
MOST_SHIFT: Final = 0.1  # what is called good: https://web.dev/articles/cls


def test_a_first_look_stays_within_its_budget(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    site.done(site.submit("report.fail"))
    for _ in range(59):
        site.submit("nobody.runs", delay=3600)
    job = site.done(site.submit())
    over = [f"{path}: {one}" for path, budget in BUDGETS.items() for one in excess(enter, path.format(job=job), budget)]
    assert not over, "\n".join(over)


def test_a_person_may_open_thirty_pages_a_minute(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    job = site.done(site.submit())
    screens = [f"o/acme/{one}" for one in ("", "jobs", f"jobs/{job}", f"jobs/{job}/graph", "job-types", "audit")]
    operators = [f"operator/{one}" for one in ("", "overview", "job-types", "workers")]
    site.stop()
    site.start_again(
        **{kind: getattr(WebSettings(), kind) // 30 for kind in ("rate_list", "rate_metrics", "rate_status")}
    )
    refused: list[str] = []
    for number, path in enumerate([*screens, *operators]):
        user = f"user {number}"  # with rates of their own
        site.fl.users.create(user, operator=path in operators)
        site.fl.members.add("acme", user, role="admin")
        page = enter(user, "api/v1/health")
        page.on("response", lambda one: refused.append(one.url) if one.status == 429 else None)
        page.goto(f"{site.url}/{path}")
        settled(page, path)
        page.context.close()
    assert refused == []


def test_bulk_actions_are_asked_for_once_while_there_are_none(enter: Callable[..., Page], site: Site):
    page, asked = enter("ana", "api/v1/health"), list[str]()
    page.on("request", lambda request: asked.append(request.url) if "/bulk-actions" in request.url else None)
    page.clock.install()
    page.goto(f"{site.url}/o/acme/jobs")
    settled(page, "jobs")
    page.clock.fast_forward(5_000)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert len(asked) == 1


def excess(enter: Callable[..., Page], path: str, budget: Budget) -> list[str]:
    """Return what a screen took beyond its budget, in a browser with an empty cache."""
    page = enter("ana", path)
    settled(page, path)
    expect(page.get_by_role("table").first).to_be_visible()
    found: dict[str, Any] = page.evaluate(MEASURE)
    page.context.close()
    asked = sorted({name for name, _ in found["fetched"] if "/api/v1/" in name and "socket.io" not in name})
    files = sorted({name for name, _ in found["fetched"] if "/api/v1/" not in name})
    taken = sum(size for _, size in found["fetched"]) / 1000
    return [
        told
        for is_over, told in (
            (len(asked) > budget.questions, f"{len(asked)} questions: {asked}"),
            (len(files) > budget.files, f"{len(files)} files: {files}"),
            (taken > budget.kilobytes, f"{taken:.0f} kB"),
            (found["nodes"] > budget.nodes, f"{found['nodes']} nodes"),
            (not found["largest"], "nothing was drawn"),
            (found["shift"] > MOST_SHIFT, f"what was there moved by {found['shift']:.3f}"),
        )
        if is_over
    ]
