"""A right that was taken away stays away, whatever anybody changes at that moment (R13)."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fairlane import ConfigurationError, PermissionDenied
from fairlane.domain.accounts import Member
from fairlane.domain.origin import acting_from
from fairlane.domain.permissions import Principal
from tests.store.interleavings.conftest import InEveryOrder
from tests.store.interleavings.order import Order
from tests.store.races.scene import Scene

P = ParamSpec("P")
R = TypeVar("R")


def requested(verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a verb like a request, by a user who may lose their right meanwhile."""
    with acting_from("a request"):
        return verb(*args, **kwargs)


def test_of_two_changes_of_a_user_none_takes_back_the_other(scene: Scene, in_every_order: InEveryOrder):
    users = scene.fl.users

    @in_every_order
    def play(order: Order) -> None:
        users.create("root", operator=True)
        order.run(
            lambda: users.update("root", disabled=True),
            lambda: users.update("root", rights=["payload:read"]),
        )
        found = users.get("root")
        assert found.disabled_at is not None
        assert found.rights == ("payload:read",)


def test_an_operator_who_is_disabled_does_not_enable_themselves(scene: Scene, in_every_order: InEveryOrder):
    users = scene.fl.users

    @in_every_order
    def play(order: Order) -> None:
        users.create("root", operator=True)
        order.run(
            lambda: users.update("root", disabled=True),
            lambda: requested(users.update, "root", disabled=False, user="root"),
        )
        assert users.get("root").disabled_at is not None


def test_an_admin_who_is_removed_does_not_add_themselves(scene: Scene, in_every_order: InEveryOrder):
    members = scene.fl.members

    @in_every_order
    def play(order: Order) -> None:
        members.add("acme", "olga", role="admin")
        removed, added = order.run(
            lambda: members.remove("acme", "olga"),
            lambda: requested(members.add, "acme", "olga", role="admin", user="olga"),
        )
        assert removed is True
        assert isinstance(added, Member | PermissionDenied)
        assert "olga" not in {one.user for one in members.list("acme")}


def test_a_token_made_beside_the_end_of_a_membership_opens_nothing(scene: Scene, in_every_order: InEveryOrder):
    fl = scene.fl

    @in_every_order
    def play(order: Order) -> None:
        fl.members.add("acme", "olga", role="admin")
        order.run(
            lambda: fl.members.remove("acme", "olga"),
            lambda: requested(fl.tokens.create, organization="acme", as_user="olga", name="x", user="olga"),
        )
        assert fl.tokens.is_empty()


def test_a_token_made_with_one_that_is_being_revoked_opens_nothing(scene: Scene, in_every_order: InEveryOrder):
    fl = scene.fl

    @in_every_order
    def play(order: Order) -> None:
        token, secret = fl.tokens.create(organization="acme", as_user="ana", name="stolen")
        thief = fl.tokens.principal(secret)
        assert isinstance(thief, Principal)
        order.run(
            lambda: fl.tokens.revoke(token.id, organization="acme"),
            lambda: fl.tokens.create(organization="acme", as_user="ana", name="x", made_with=thief),
        )
        assert fl.tokens.is_empty()


def test_a_token_made_with_one_of_a_member_who_is_being_removed_opens_nothing(
    scene: Scene, in_every_order: InEveryOrder
):
    fl = scene.fl

    @in_every_order
    def play(order: Order) -> None:
        fl.members.add("acme", "olga", role="admin")
        _, secret = fl.tokens.create(organization="acme", as_user="olga", name="stolen")
        thief = fl.tokens.principal(secret)
        assert isinstance(thief, Principal)
        order.run(
            lambda: fl.members.remove("acme", "olga"),
            lambda: fl.tokens.create(organization="acme", as_user="ana", name="x", made_with=thief),
        )
        assert fl.tokens.is_empty()


def test_a_token_made_beside_the_end_of_a_user_opens_nothing_once_they_are_enabled(
    scene: Scene, in_every_order: InEveryOrder
):
    fl = scene.fl

    @in_every_order
    def play(order: Order) -> None:
        fl.members.add("acme", "olga", role="admin")
        fl.users.create("olga")
        _, made = order.run(
            lambda: fl.users.update("olga", disabled=True),
            lambda: fl.tokens.create(organization="acme", as_user="olga", name="x"),
        )
        fl.users.update("olga", disabled=False)
        assert isinstance(made, tuple | ConfigurationError)
        assert fl.tokens.is_empty()


def test_a_token_made_beside_the_end_of_an_operator_opens_nothing_once_they_are_enabled(
    scene: Scene, in_every_order: InEveryOrder
):
    fl = scene.fl

    @in_every_order
    def play(order: Order) -> None:
        fl.users.create("root", operator=True)
        order.run(
            lambda: fl.users.update("root", disabled=True),
            lambda: fl.tokens.create(organization=None, as_user="root", name="x"),
        )
        fl.users.update("root", disabled=False)
        assert fl.tokens.is_empty()


def test_a_token_made_by_whoever_is_being_deleted_opens_nothing(scene: Scene, in_every_order: InEveryOrder):
    fl = scene.fl

    @in_every_order
    def play(order: Order) -> None:
        fl.members.add("acme", "olga", role="admin")
        fl.users.create("olga", password="a long password")
        olga = fl.users.principal(fl.users.log_in("olga", "a long password"))
        assert isinstance(olga, Principal)
        deleted, made = order.run(
            lambda: fl.users.delete("olga"),
            lambda: requested(
                fl.tokens.create, organization="acme", as_user="olga", name="x", made_with=olga, user="olga"
            ),
        )
        assert deleted is True
        assert isinstance(made, tuple | PermissionDenied)
        assert fl.tokens.is_empty()
