"""The screens around the jobs, wide and narrow, light and dark: as `test_screens`, with more to show."""

from collections.abc import Callable, Iterator
from typing import Final
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from fairlane import Fairlane, JobContext, Settings
from fairlane.domain.statuses import Role
from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard
from tests.browser.conftest import PICTURES
from tests.browser.site import HOSTILE, Site
from tests.browser.test_screens import barriers, seen_in_all_ways, settled
from tests.engine.worker_kit import until

PARTS: Final = 4  # side by side, where there are several workers of tests


def fax(ctx: JobContext) -> None: ...


@pytest.fixture
def full(site: Site) -> Iterator[dict[str, tuple[str, str]]]:
    """Something of everything; of each screen who looks at it, and its address."""
    fl = site.fl
    site.gate.pages = 100
    letters = [site.submit("report.fail", parameters={"text": f"no such table: archive_{n}"}) for n in range(7)]
    children = [site.submit(depends_on=[letters[0]]) for _ in range(3)]
    last = site.submit(depends_on=children)
    for n in range(12):
        organization, user = (("acme", "ana"), ("globex", "gil"))[n % 3 == 0]
        site.done(site.submit(organization=organization, user=user), organization)
    for job in (*letters, last):
        site.done(job)
    fl.dead_letters.resolve(
        letters[1], organization="acme", user="ana", note="The archive was restored, see ticket 4711."
    )
    fl.dead_letters.ignore(letters[2], organization="acme", user="ana")
    fl.queues.pause("parked", reason="maintenance")
    for organization, user, number in (("acme", "ana", 9), ("globex", "gil", 1)):
        for _ in range(number):
            site.submit("nobody.runs", organization=organization, user=user)
    fl.members.add("acme", HOSTILE[:60], permissions=["payload:read", "reports"], user="ana")
    fl.tokens.create(
        organization="acme",
        as_user="ana",
        name="nightly import",
        scopes=["jobs:read", "jobs:submit"],
        expires_in=86_400,
    )
    token, _ = fl.tokens.create(organization="acme", as_user="ben", name="old")
    fl.tokens.revoke(token.id, organization="acme", user="ana")
    fl.tokens.create(organization=None, as_user="olga", name="monitoring", scopes=["jobs:read"])
    fl.organizations.create("initech", name="Initech", weight=3, max_running=20, max_live_jobs=10_000)
    fl.organizations.suspend("initech", user="olga")
    fl.job_types.limit("report.render", organization="acme", max_running=5, user="olga")
    _add_silent_worker(fl)
    _add_schedules(fl)
    with _stranded(fl) as other:
        other.submit("fax.send", organization="acme", queue="fax")
        yield {
            "dead-letters": ("ana", "o/acme/dead-letters"),
            "dead-letter-group": (
                "ana",
                f"o/acme/dead-letters/{fl.dead_letters.groups(organization='acme')[0].fingerprint}",
            ),
            "dead-letters-resolved": ("ana", "o/acme/dead-letters?decided=resolved"),
            "graph": ("ana", f"o/acme/jobs/{last}/graph"),
            "queues": ("ana", "o/acme/queues"),
            "job-types": ("ana", "o/acme/job-types"),
            "schedules": ("ana", "o/acme/schedules"),
            "members": ("ana", "o/acme/members"),
            "tokens": ("ana", "o/acme/tokens"),
            "audit": ("ana", "o/acme/audit"),
            "settings": ("ana", "o/acme/settings"),
            "operator-organizations": ("olga", "operator"),
            "operator-overview": ("olga", "operator/overview"),
            "operator-fairness": ("olga", "operator/fairness"),
            "operator-dead-letters": ("olga", "operator/dead-letters"),
            "operator-workers": ("olga", "operator/workers"),
            "operator-queues": ("olga", "operator/queues"),
            "operator-job-types": ("olga", "operator/job-types"),
            "operator-users": ("olga", "operator/users"),
            "operator-tokens": ("olga", "operator/tokens"),
            "operator-audit": ("olga", "operator/audit"),
            "operator-settings": ("olga", "operator/settings"),
        }


def _add_silent_worker(fl: Fairlane) -> None:
    """Add a worker of another version that has left two handlers behind, and has stopped beating."""
    card = WorkerCard(uuid4(), "reports-2:4711", ("default", "bulk"), ("report.render",), 8, version="0.9.0")
    clock = fl.database.clock
    fl.database.write(lambda connection: workers.register(connection, clock, card, 600.0))
    fl.database.write(lambda connection: workers.beat(connection, clock, card.id, 600.0, stopping=False, left_behind=2))


def _add_schedules(fl: Fairlane) -> None:
    """Add a schedule with a tick, a paused one, one whose ticks are refused as its user has left, and plain ones."""
    fl.members.add("acme", "zoe", role=Role.MEMBER)
    for name in ("each-hour", "of-zoe"):
        fl.schedules.put(name, "report.render", organization="acme", every=1, as_user="zoe")
    until(lambda: fl.schedules.get("each-hour", organization="acme").last_tick)
    fl.schedules.put(
        "each-hour",
        "report.render",
        organization="acme",
        every=3600,
        as_user="ana",
        parameters={"title": "Of this hour"},
    )
    fl.members.remove("acme", "zoe")
    until(lambda: fl.schedules.get("of-zoe", organization="acme").problem)
    weekdays = "30 6 * * MON-FRI"
    fl.schedules.put(
        "weekdays", "report.render", organization="acme", cron=weekdays, time_zone="America/New_York", as_user="ben"
    )
    labels = {"document": "42", "customer": "globex"}
    fl.schedules.put(
        "quarterly", "report.fail", organization="acme", cron="0 0 1 */3 *", labels=labels, queue="bulk", missed="all"
    )
    fl.schedules.put(
        "nightly", "report.render", organization="acme", cron="0 3 * * *", time_zone="Europe/Zurich", as_user="ana"
    )
    fl.schedules.pause("nightly", organization="acme", user="ana")


def _stranded(fl: Fairlane) -> Fairlane:
    """An application whose job type no worker has."""
    other = Fairlane(Settings(url=fl.settings.url, artifacts_url="memory:///"))
    other.job_type("fax.send", queue="fax")(fax)
    other.migrate()
    return other


def test_a_chart_s_legend_has_values_only_while_somebody_points_at_it(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme")
    legend = page.locator(".u-legend").first
    expect(legend.get_by_text("Completed")).to_be_visible()
    expect(legend.locator(".u-value").filter(visible=True)).to_have_count(0)
    expect(legend.get_by_text("Time")).to_be_hidden()
    page.locator(".u-over").first.hover()
    expect(legend.locator(".u-value").filter(visible=True)).to_have_count(4)
    expect(legend).to_contain_text("Time")


def test_screens_in_maintenance_mode_have_no_barriers(
    enter: Callable[..., Page], full: dict[str, tuple[str, str]], site: Site
):
    site.fl.maintenance.on(
        reason="The database moves to a larger machine; it takes until about 22:00 UTC.", user="olga"
    )
    found: list[str] = []
    for name in ("queues", "operator-workers"):
        user, path = full[name]
        found += seen_in_all_ways(enter, f"{name}-in-maintenance", user, path)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("part", range(PARTS))
def test_more_screens_have_no_barriers(enter: Callable[..., Page], full: dict[str, tuple[str, str]], part: int):
    found: list[str] = []
    for name, (user, path) in list(full.items())[part::PARTS]:
        found += seen_in_all_ways(enter, name, user, path)
    assert not found, "\n".join(found)


DIALOGS = {
    "dead-letters": ("Retry ValueError of report.fail",),
    "dead-letter-group": ("Edit and retry",),
    "schedules": ("New schedule…", "Change each-hour", "Submit now weekdays", "Delete weekdays"),
    "members": ("Add a member…", "Remove ben"),
    "tokens": ("New token…",),
    "operator-organizations": ("New organization…",),
    "operator-workers": ("Drain reports-2:4711", "Maintenance mode…"),
    "operator-job-types": ("Limits of report.render", "Pause report.render"),
    "operator-users": ("New user…",),
}


def test_dialogs_of_more_screens_have_no_barriers(enter: Callable[..., Page], full: dict[str, tuple[str, str]]):
    PICTURES.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    for name, buttons in DIALOGS.items():
        user, path = full[name]
        page = enter(user, path)
        settled(page, name)
        for button in buttons:
            page.get_by_role("button", name=button).first.click()
            expect(page.get_by_role("dialog")).to_be_visible()
            expect(page.get_by_role("status", name="Loading")).to_have_count(0)
            found += [f"{button}: {one}" for one in barriers(page)]
            page.screenshot(path=PICTURES / f"dialog-{name}-{button.split()[0].lower()}.png")
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_have_count(0)
        page.context.close()
    assert not found, "\n".join(found)
