"""No page links to Fairlane's own members if an application keeps organizations and members itself."""

from collections.abc import Callable, Collection, Iterator, Mapping

import pytest
from playwright.sync_api import Page, expect

from fairlane import Membership, OrganizationStatus, Role, Standing
from tests.browser.site import MEMBERS, Site


class Host:
    """The application's own directory."""

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        return {one: Standing(OrganizationStatus.ACTIVE) for one in ids if one in MEMBERS}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        roles = {pair: MEMBERS.get(pair[0], {}).get(pair[1]) for pair in pairs}
        return {pair: Membership(Role(role)) for pair, role in roles.items() if role is not None}


@pytest.fixture
def site(sqlite_url: str) -> Iterator[Site]:
    with Site(sqlite_url, Host()) as made:
        yield made


def test_a_user_who_may_not_see_payload_is_sent_to_the_application(enter: Callable[..., Page], site: Site):
    job = site.done(site.submit("report.fail"))
    main = enter("ben", f"o/acme/jobs/{job}").locator("main")
    expect(main).to_contain_text("they need the right payload:read, which your application can give you.")
    expect(main).not_to_contain_text("at Members")


def test_a_stranger_is_sent_to_the_application(enter: Callable[..., Page]):
    main = enter("gil", "o/acme").locator("main")
    expect(main).to_contain_text("Choose another one above, or ask where your application keeps its members.")
