"""Text from users is shown as text, wherever it appears, and never runs."""

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard
from tests.browser.site import HOSTILE, Site
from tests.browser.test_screens import settled


def hostile(field: str) -> str:
    """Return markup that takes the page over if it is taken for HTML, and names its field."""
    return f"<img src=x onerror=\"document.title='owned'\">{field}"


@pytest.fixture
def taken(site: Site) -> dict[str, list[tuple[str, list[str]]]]:
    """Return for each reader the addresses of screens and the hostile fields on each."""
    fl = site.fl
    site.gate.pages = 3
    user, queue, label = hostile("user"), hostile("queue"), {hostile("key"): hostile("value")}
    fl.organizations.update("acme", name=hostile("organization"))
    fl.organizations.create(hostile("id"), name=hostile("other"))
    fl.users.create(user)
    fl.members.add("acme", user, role="admin")
    fl.members.add("acme", hostile("member"), permissions=[hostile("permission")])
    fl.tokens.create(organization="acme", as_user=user, name=hostile("token"))
    fl.tokens.create(organization=None, as_user="olga", name=hostile("token"))
    fl.schedules.put(
        hostile("schedule"), "report.render", organization="acme", every=3600, as_user=user, labels=label, queue=queue
    )
    fl.job_types.pause("nobody.runs", reason=hostile("reason"))
    fl.queues.pause(queue, reason=hostile("reason"))
    card = WorkerCard(uuid4(), hostile("worker"), (queue,), ("report.render",), 8, version=hostile("version"))
    fl.database.write(lambda connection: workers.register(connection, fl.database.clock, card, 600.0))
    done = site.done(site.submit(user=user, labels=label, parameters={"pages": 1, "title": hostile("title")}))
    failed = site.done(site.submit("report.fail", user=user, labels=label, parameters={"text": hostile("error")}))
    decided = site.done(site.submit("report.fail", user=user, parameters={"text": hostile("error")}))
    fl.dead_letters.resolve(decided, organization="acme", user=user, note=hostile("note"))
    held = site.submit("nobody.runs", user=user, queue=queue)
    running = site.submit(user=user, parameters={"title": hostile("title")})
    group = fl.dead_letters.groups(organization="acme")[0].fingerprint
    return {
        "ana": [
            ("o/acme", ["organization"]),
            ("o/acme/jobs", ["user"]),
            ("o/acme/jobs?text=%3Cscript%3Ealert(1)%3C/script%3E", []),
            (f"o/acme/jobs?queue={httpx.QueryParams({'queue': queue})['queue']}", []),
            (f"o/acme/jobs/{done}", ["user", "key", "value", "title"]),
            (f"o/acme/jobs/{failed}", ["error"]),
            (f"o/acme/jobs/{failed}/graph", []),
            (f"o/acme/jobs/{held}", ["queue"]),
            (f"o/acme/jobs/{running}", ["title"]),
            ("o/acme/dead-letters", ["error"]),
            (f"o/acme/dead-letters/{group}", ["error"]),
            ("o/acme/dead-letters?decided=resolved", ["error"]),
            (f"o/acme/dead-letters/{group}?decided=resolved", ["note"]),
            ("o/acme/queues", ["queue"]),
            ("o/acme/job-types", []),
            ("o/acme/schedules", ["schedule"]),
            ("o/acme/members", ["user", "permission"]),
            ("o/acme/tokens", ["token"]),
            ("o/acme/audit", ["user"]),
            ("o/acme/settings", []),
        ],
        "olga": [
            ("operator", ["organization", "other"]),
            ("operator/overview", []),
            ("operator/fairness", []),
            ("operator/dead-letters", []),
            ("operator/workers", ["worker", "version", "queue"]),
            ("operator/queues", ["queue"]),
            ("operator/job-types", []),
            ("operator/users", ["user"]),
            ("operator/tokens", ["token"]),
            ("operator/audit", ["user", "reason"]),
        ],
    }


@pytest.mark.parametrize("user", ["ana", "olga"])
def test_hostile_text_is_text(
    enter: Callable[..., Page], site: Site, taken: dict[str, list[tuple[str, list[str]]]], user: str
):
    page = enter(user)
    for path, fields in taken[user]:
        page.goto(f"{site.url}/{path}")
        settled(page, path)
        for field in fields:
            expect(page.locator("main")).to_contain_text(hostile(field))
        assert page.locator("img[src=x]").count() == 0, path
        assert page.title() != "owned", path


def test_a_log_line_with_a_script_is_text(enter: Callable[..., Page], site: Site):
    failed = site.done(site.submit("report.fail", parameters={"text": HOSTILE}))
    page = enter("ana", f"o/acme/jobs/{failed}")
    expect(page.get_by_role("log")).to_contain_text("<script>")
    assert page.title() != "owned"


def test_the_policy_lets_nothing_run_that_is_not_the_dashboards(
    enter: Callable[..., Page], site: Site, failures: list[str]
):
    policy = httpx.get(f"{site.url}/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = enter("ana", "o/acme")
    expect(page.get_by_role("heading", name="Acme")).to_be_visible()
    ran = page.evaluate(
        """() => new Promise((done) => {
          addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
          const script = document.createElement("script");
          script.textContent = "window.owned = true";
          document.body.append(script);
          setTimeout(() => done(window.owned ? "ran" : "nothing"), 2000);
        })"""
    )
    assert ran == "script-src-elem"
    assert any("Content Security" in one for one in failures)
    failures.clear()
