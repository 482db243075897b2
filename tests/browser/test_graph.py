"""The graph around a job: links to jobs, where it began to go wrong, and statuses that change as they do."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.site import Site


def test_it_leads_to_where_it_began_to_go_wrong(enter: Callable[..., Page], site: Site):
    parent = site.submit("report.fail")
    child = site.submit(depends_on=[parent])
    grandchild = site.submit(depends_on=[child])
    site.done(grandchild)
    page = enter("ana", f"o/acme/jobs/{grandchild}/graph")
    graph = page.get_by_label("Dependencies, from left to right")
    expect(graph.get_by_role("link")).to_have_count(3)
    expect(graph.locator("a[aria-current]")).to_contain_text(grandchild[-8:])
    page.get_by_role("status").get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/jobs/{parent}$"))
    page.go_back()
    graph.get_by_role("link", name=re.compile("began here")).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/jobs/{parent}$"))


def test_on_a_phone_no_box_is_cut_off_at_the_left_and_that_of_the_job_is_whole(enter: Callable[..., Page], site: Site):
    parent = site.submit("report.fail")
    child = site.done(site.submit(depends_on=[parent]))
    page = enter("ana", f"o/acme/jobs/{child}/graph", viewport={"width": 390, "height": 844})
    graph = page.get_by_label("Dependencies, from left to right")
    expect(graph.get_by_role("link")).to_have_count(2)
    sides = "one => { const { left, right } = one.getBoundingClientRect(); return [left, right] }"
    left, right = graph.evaluate(sides)
    for one in graph.locator("a rect").all():
        begin, end = one.evaluate(sides)
        assert not begin < left < end
    begin, end = graph.locator("a[aria-current] rect").evaluate(sides)
    assert left <= begin
    assert end <= right


def test_statuses_change_as_they_do(enter: Callable[..., Page], site: Site):
    parent = site.submit()
    children = [site.submit(depends_on=[parent]) for _ in range(3)]
    page = enter("ana", f"o/acme/jobs/{parent}/graph")
    expect(page.locator("[data-phase]")).to_have_attribute("data-phase", "live")
    expect(page.get_by_role("link", name=re.compile("pending"))).to_have_count(3)
    site.gate.pages = 100
    for child in children:
        site.done(child)
    expect(page.get_by_role("link", name=re.compile("completed"))).to_have_count(4)


def test_a_graph_of_others_is_one_of_nobody(enter: Callable[..., Page], site: Site):
    foreign = site.submit(organization="globex", user="gil")
    page = enter("ana", f"o/acme/jobs/{foreign}/graph")
    expect(page.get_by_role("alert")).to_contain_text("no such job")
