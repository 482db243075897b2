"""Memberships that a host's directory keeps, and a directory that does not answer."""

from collections.abc import Collection
from typing import Any

import pytest

from fairlane import StorageUnavailable
from fairlane.domain.permissions import Principal, Right
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.realtime.hub import EVERYTHING, Room, RoomKind
from fairlane.realtime.membership import Membership
from fairlane.tenancy.directory import Membership as Member
from fairlane.tenancy.directory import Standing
from fairlane.tenancy.host_directory import HostDirectory

ACME = Room(RoomKind.ORGANIZATION, "acme")
ANA = Principal("ana", "jwt")


class Host:
    """A host that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.members_of_acme = {"ana"}
        self.status = OrganizationStatus.ACTIVE
        self.is_away = False

    def organizations(self, ids: Collection[str]) -> dict[str, Standing]:
        self.asked += 1
        if self.is_away:
            raise OSError("away")
        return {one: Standing(self.status) for one in ids if one == "acme"}

    def members(self, pairs: Collection[tuple[str, str]]) -> dict[Any, Member]:
        return {pair: Member(Role.VIEWER) for pair in pairs if pair[1] in self.members_of_acme}


class Site:
    """A host's directory at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.host = Host()
        self.directory = HostDirectory(self.host, lambda: self.now)
        self.membership = Membership(lambda _: {}, self.directory, 5.0)

    def sees(self, principal: Principal = ANA, room: Room = ACME) -> bool:
        return self.membership.those_who_may([(principal, room)])(principal, room)


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_host_is_asked_no_more_often_than_its_answers_age(site: Site):
    assert all(site.sees() for _ in range(10))
    assert site.host.asked == 1
    site.host.members_of_acme.clear()
    site.now += 5.1
    assert not site.sees()


def test_what_a_host_tells_of_takes_effect_at_once(site: Site):
    assert site.sees()
    site.host.members_of_acme.clear()
    assert site.sees()
    site.directory.changed("acme", "ana")
    assert not site.sees()


def test_a_deleted_organization_is_seen_by_nobody(site: Site):
    site.host.status = OrganizationStatus.DELETED
    assert not site.sees()


def test_without_an_answer_nothing_is_told_after_thirty_seconds(site: Site):
    site.host.is_away = True
    with pytest.raises(StorageUnavailable):
        site.sees()
    membership = site.membership
    membership.credentials_checked = membership.memberships_checked = site.now
    assert membership.is_fresh(site.now + 1)
    membership.credentials_checked = site.now + 29
    assert membership.is_fresh(site.now + 29)
    membership.credentials_checked = site.now + 31
    assert not membership.is_fresh(site.now + 31)


@pytest.mark.parametrize(
    ("operator_rights", "scopes", "organization", "sees"),
    [
        (None, None, None, False),
        (frozenset({Right.JOBS_READ}), None, None, True),
        (frozenset({Right.JOBS_READ}), frozenset({Right.AUDIT_READ}), None, False),
        (frozenset({Right.AUDIT_READ}), None, None, False),
        (frozenset({Right.JOBS_READ}), None, "acme", False),
    ],
)
def test_all_is_for_operators_whose_credential_opens_jobs(
    site: Site, operator_rights: Any, scopes: Any, organization: str | None, sees: bool
):
    principal = Principal("olga", "token", scopes, organization, operator_rights)
    assert site.sees(principal, EVERYTHING) is sees
