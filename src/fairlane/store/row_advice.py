"""Why row security is off in a database, and what switches it on: the one cause that applies, with the SQL to say."""

from collections.abc import Sequence
from typing import Final

from fairlane.store.row_policies import is_complete, rights_of_others, roles_amiss, tables_amiss
from fairlane.store.row_security import TAKING_ON, Ask, DatabaseRole
from fairlane.store.tables import jobs

ROLES: Final = ", ".join(DatabaseRole)
_MIGRATE: Final = "then run `fairlane migrate` again (FAIRLANE_OWNER_URL names its login)."
_TOLD: Final = 5  # faults; whoever mends them mends all

# Of the tables' owner, as whom `fairlane migrate` works. A superuser may take on every role.
_STATE: Final = f"""
SELECT quote_ident(owner.rolname), owner.rolsuper OR owner.rolcreaterole,
  ARRAY(SELECT name FROM unnest(%(roles)s::text[]) AS name
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)),
  EXISTS (SELECT FROM pg_roles AS ours
          WHERE ours.rolname = ANY(%(roles)s) AND NOT pg_has_role(owner.oid, ours.oid, {TAKING_ON}))
FROM pg_class JOIN pg_roles AS owner ON owner.oid = relowner WHERE pg_class.oid = to_regclass(%(jobs)s)
"""  # noqa: S608 - a constant of ours


def what_is_missing(ask: Ask) -> str | None:
    """Say why row security is off and what to do; None where it is on, or Fairlane's tables are not there.

    Everybody may ask this: it is read from catalogs that the server hides from nobody.
    """
    found = ask(_STATE, {"roles": list(DatabaseRole), "jobs": jobs.name})
    if not found or is_complete(ask):
        return None
    owner, makes_roles, absent, is_not_granted = found[0]
    grant = f"GRANT {ROLES} TO {owner};"
    if absent and not makes_roles:
        created = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in absent)
        return (
            f"Row security is off: this server has no {', '.join(absent)}, and {owner}, who owns the tables, may not "
            f"create roles. Say as an administrator: {created} {grant} {_MIGRATE}"
        )
    if is_not_granted:
        return (
            f"Row security is off: {owner}, who owns the tables, may not take on Fairlane's roles. "
            f"Say as an administrator: {grant} {_MIGRATE}"
        )
    if roles := roles_amiss(ask):
        mends = "; ".join(one.mend for one in roles)
        return f"{_told([one.what for one in roles])} Say as an administrator: {mends}; {_MIGRATE}"
    return (
        f"{_told(tables_amiss(ask))} Run `fairlane migrate` as {owner}, who owns the tables "
        "(FAIRLANE_OWNER_URL names its login)."
    )


def rights_not_ours(ask: Ask) -> str | None:
    """Return who has rights on our tables that Fairlane did not grant, and the SQL to revoke them; None = nobody."""
    found = rights_of_others(ask)
    if not found:
        return None
    holders = ", ".join(dict.fromkeys(holder for holder, _ in found))
    return (
        f"These have rights on Fairlane's tables that Fairlane did not grant and leaves as they are: {holders}. "
        f"To revoke them, say as an administrator: {'; '.join(mend for _, mend in found)}; RESET ROLE."
    )


def _told(amiss: Sequence[str]) -> str:
    more = f", and {len(amiss) - _TOLD:,} more" if len(amiss) > _TOLD else ""
    return f"Row security is not as Fairlane makes it: {', '.join(amiss[:_TOLD])}{more}."
