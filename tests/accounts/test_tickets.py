"""Tickets for sockets: good once, for a minute; invented ones cost nobody else anything."""

from collections.abc import Iterator

import pytest

from fairlane import Fairlane, Settings
from fairlane.domain.permissions import Credential
from fairlane.testing import ManualClock
from tests.store.as_owner import in_role


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Fairlane]:
    with Fairlane(Settings(url=database_url, artifacts_url="memory:///"), clock=clock) as fl:
        fl.organizations.create("acme")
        fl.members.add("acme", "ana")
        yield fl


@pytest.fixture
def credential(fl: Fairlane) -> Credential:
    principal = fl.tokens.principal(fl.tokens.create(organization="acme", as_user="ana", name="test")[1])
    assert principal is not None
    assert principal.credential is not None
    return principal.credential


def test_a_ticket_is_good_for_a_minute(fl: Fairlane, credential: Credential, clock: ManualClock):
    with in_role():
        early, late = fl.tickets.create(credential), fl.tickets.create(credential)
        clock.advance(59.9)
        found = fl.tickets.redeem(early)
        assert found is not None
        assert found.user == "ana"
        clock.advance(0.2)
        assert fl.tickets.redeem(late) is None


def test_a_ticket_that_is_none_writes_nothing(fl: Fairlane, credential: Credential):
    used = fl.tickets.create(credential)
    fl.tickets.redeem(used)
    before = fl.database.commits
    assert [fl.tickets.redeem(one) for one in (used, "", "invented")] == [None] * 3
    assert fl.database.commits == before
