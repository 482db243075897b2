"""What somebody sent is shown as text, wherever it appears, and never runs."""

from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect

from tests.browser.site import HOSTILE, Site


def test_hostile_text_is_text(enter: Callable[..., Page], site: Site):
    site.gate.pages = 100
    label = HOSTILE[:40]
    site.done(site.submit(parameters={"title": HOSTILE}, labels={"name": label}))
    failed = site.done(site.submit("report.fail", parameters={"text": HOSTILE}))
    site.fl.organizations.update("acme", name=HOSTILE[:60])
    for path in (
        "o/acme",
        "o/acme/jobs",
        f"o/acme/jobs/{failed}",
        "o/acme/jobs?text=%3Cscript%3Ealert(1)%3C/script%3E",
    ):
        page = enter("ana", path)
        expect(page.get_by_role("heading").first).to_be_visible()
        expect(page.locator("[data-phase]")).to_be_visible()
        assert page.locator("img[src=x]").count() == 0
        assert page.title() != "owned"
    page = enter("ana", f"o/acme/jobs/{failed}")
    expect(page.get_by_text(HOSTILE[:30]).first).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("<script>")


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
