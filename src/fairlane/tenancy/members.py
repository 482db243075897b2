"""Verbs about the members in the built-in directory: `fl.members`."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from fairlane.domain.accounts import Member, Mine
from fairlane.domain.arguments import count, text
from fairlane.domain.errors import ConfigurationError, KeptByHost
from fairlane.domain.permissions import Right, permission_name
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.domain.texts import require_user_id, storable
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import credentials
from fairlane.store.statements import organizations as statements
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Told
from fairlane.tenancy.directory import Directory, stored_membership
from fairlane.tenancy.tenants import Tenants, no_member, unknown


class Members:
    """Add, change and remove members of organizations.

    If the application has its own `Directory`, each verb raises `KeptByHost`.
    """

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._tenants = Tenants(database, directory)

    def add(
        self,
        organization: str,
        member: str,
        *,
        role: Role | str = Role.MEMBER,
        permissions: Iterable[str] = (),
        user: str | None = None,
    ) -> Member:
        """Add a user to an organization, or replace a member's role and permissions. `update` can change one of them.

        Args:
            role: viewer (read), member (submit, cancel own) or admin (all in the organization).
            permissions: names of your own that job types may require. "payload:read" lets the member see the payload of
                others' jobs. Only roles give other rights.
            user: who adds the member; None = the system.

        Raises:
            OrganizationNotFound, ConfigurationError, PermissionDenied
        """
        return self._set("add", organization, member, _role(role), _names(permissions), user=user)

    def update(
        self,
        organization: str,
        member: str,
        *,
        role: Role | str | None = None,
        permissions: Iterable[str] | None = None,
        user: str | None = None,
    ) -> Member:
        """Change the given values of a member; the others stay. `add` explains each.

        Raises:
            OrganizationNotFound, ConfigurationError
            PermissionDenied: there is no such member, or `user` lacks the right.
        """
        kind = _role(role) if role is not None else None
        names = _names(permissions) if permissions is not None else None
        return self._set("update", organization, member, kind, names, user=user)

    def _set(
        self,
        verb: str,
        organization: str,
        member: str,
        role: Role | None,
        permissions: Sequence[str] | None,
        *,
        user: str | None,
    ) -> Member:
        """Store a member. None keeps the stored value of an existing member."""
        self._refuse_host()
        require_user_id(member)

        def work(connection: Connection) -> tuple[Member, Told]:
            found = statements.find(connection, [organization])
            if not found or found[0].status == OrganizationStatus.DELETED:
                raise unknown(organization, was_deleted=bool(found))
            now = self._database.clock.now(connection)
            before = _told(statements.find_members(connection, [(organization, member)]))
            if verb == "update" and before is None:
                raise no_member(member, organization)
            kind = role if role is not None else Role((before or {})["role"])
            names = permissions if permissions is not None else (before or {})["permissions"]
            statements.set_member(connection, now, organization, member, kind, names)
            (made,) = statements.find_members(connection, [(organization, member)])
            return _member(made, kind, names), Told(member, before, {"role": kind, "permissions": names}, at=now)

        return self._tenants.change(f"members.{verb}", work, organization, user, Right.MEMBERS_CHANGE)

    def list(self, organization: str, *, after: str | None = None, limit: int | None = None) -> tuple[Member, ...]:
        """Return the members of an organization, by user. A row that can't be read is skipped: it makes no member.

        Args:
            after: only users whose ids come after this one.
            limit: how many at most; None = all.

        Raises:
            OrganizationNotFound
        """
        self._refuse_host()
        storable(after=after)
        count("limit", limit)

        def look(connection: Connection) -> list[Member]:
            found, last = list[Member](), after
            while True:
                wanted = limit - len(found) if limit is not None else None
                rows = statements.members_of(connection, organization, last, wanted)
                known = [(row, stored_membership(row.role, row.permissions)) for row in rows]
                found += [_member(row, one.role, sorted(one.permissions)) for row, one in known if one is not None]
                if not rows or limit is None or len(found) == limit:
                    return found
                last = rows[-1].user_id

        return tuple(self._tenants.read(look, of=organization))

    def of(self, user: str) -> tuple[Mine, ...] | None:
        """Return a user's organizations, by id; None if the application's own directory keeps the members."""
        if self._tenants.is_of_host:
            return None
        storable(user=user)
        rows = self._database.read(lambda connection: statements.memberships_of(connection, user), of=EVERYONE)
        return tuple(
            Mine(row.id, row.name, OrganizationStatus(row.status), Role(row.role))
            for row in rows
            if row.role in {*Role}
        )

    def remove(self, organization: str, member: str, *, user: str | None = None) -> bool:
        """Remove a member, and revoke their tokens here and tokens made with these; False if there was no such member.

        The member's waiting jobs will be refused when they are due. Old tokens stay revoked if the user is added again.

        Raises:
            OrganizationNotFound, PermissionDenied
        """
        self._refuse_host()
        storable(member=member)

        def work(connection: Connection) -> tuple[bool, Told | None]:
            before = _told(statements.find_members(connection, [(organization, member)]))
            if not statements.remove_member(connection, organization, member):
                return False, None
            now = self._database.clock.now(connection)
            credentials.audit_revoked(
                connection, now, user, credentials.revoke_tokens_of(connection, organization, member, now)
            )
            return True, Told(member, before, at=now)

        return self._tenants.change("members.remove", work, organization, user, Right.MEMBERS_CHANGE)

    def _refuse_host(self) -> None:
        if self._tenants.is_of_host:
            raise KeptByHost("The application's own directory keeps the members; look them up and change them there.")


def _told(found: Sequence[AnyRow]) -> dict[str, Any] | None:
    known = stored_membership(found[0].role, found[0].permissions) if found else None
    return {"role": known.role, "permissions": sorted(known.permissions)} if known is not None else None


def _names(permissions: Iterable[str]) -> Sequence[str]:
    if isinstance(permissions, str):
        raise ConfigurationError('permissions must be a list of names, like ("reports",).')
    return sorted({permission_name(text("A permission", one)) for one in permissions})


def _role(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise ConfigurationError(f"role must be one of {', '.join(Role)}, not {role!r}.") from None


def _member(row: AnyRow, role: Role, permissions: Sequence[str]) -> Member:
    return Member(row.organization_id, row.user_id, role, tuple(permissions), row.created_at)
