"""A principal's rights in an organization never exceed its role, credential and organization together (R19)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane import ConfigurationError, Role
from fairlane.domain.permissions import OPERATOR_RIGHTS, ROLE_RIGHTS, Principal, Right, access, rights_of

rights = st.frozensets(st.sampled_from(list(Right)))
principals = st.builds(
    Principal,
    user=st.sampled_from(["ana", "bea"]),
    via=st.just("test"),
    scopes=st.none() | rights,
    organization=st.none() | st.sampled_from(["acme", "rival"]),
    operator_rights=st.none() | st.just(OPERATOR_RIGHTS),
)
roles = st.none() | st.sampled_from(list(Role))


@given(principals, roles, st.frozensets(st.sampled_from(["payload:read", "reports"])))
def test_access_is_within_role_and_credential(principal: Principal, role: Role | None, permissions: frozenset[str]):
    given = access(principal, "acme", role, permissions)
    if given is None:
        is_nobody = role is None and principal.operator_rights is None
        assert is_nobody or principal.organization == "rival"
        return
    assert principal.organization in (None, "acme")
    of_role = ROLE_RIGHTS[role] if role is not None else frozenset()
    assert given.rights <= of_role | (principal.operator_rights or frozenset()) | {Right.PAYLOAD_READ}
    assert principal.scopes is None or given.rights <= principal.scopes
    if Right.PAYLOAD_READ in given.rights and role is not Role.ADMIN:
        assert "payload:read" in permissions
    is_operator = principal.operator_rights is not None and role is not Role.ADMIN
    assert given.is_operator == is_operator
    assert given.is_full == (role is Role.ADMIN or is_operator)


@given(roles)
def test_a_lost_membership_closes_every_credential(role: Role | None):
    assert access(Principal("ana", "token", scopes=frozenset(Right)), "acme", None) is None
    assert (access(Principal("ana", "token"), "acme", role) is None) == (role is None)


def test_each_role_may_what_the_one_before_may_and_more():
    viewer, member, admin = (ROLE_RIGHTS[role] for role in Role)
    assert viewer < member < admin == frozenset(Right)


def test_payloads_are_open_to_admins_submitters_and_those_with_the_right():
    seen = {
        name: found.sees_payload("bea")
        for name, found in {
            "admin": access(Principal("olga", "x"), "acme", Role.ADMIN),
            "another member": access(Principal("ana", "x"), "acme", Role.MEMBER),
            "who submitted it": access(Principal("bea", "x"), "acme", Role.MEMBER),
            "member with the right": access(Principal("ana", "x"), "acme", Role.MEMBER, ["payload:read"]),
            "operator": access(Principal("root", "x", operator_rights=OPERATOR_RIGHTS), "acme", None),
        }.items()
        if found is not None
    }
    assert seen == {
        "admin": True,
        "another member": False,
        "who submitted it": True,
        "member with the right": True,
        "operator": False,
    }


def test_nobody_else_s_jobs_are_taken_for_the_system_s():
    found = access(Principal("ana", "x"), "acme", Role.MEMBER)
    assert found is not None
    assert not found.sees_payload(None)


def test_a_name_that_is_no_right_is_refused():
    with pytest.raises(ConfigurationError, match="'jobs:fly' is no right; there are jobs:read, "):
        rights_of(["jobs:read", "jobs:fly"])
