"""What claimed jobs need to begin: the checks at start, keys, checkpoints and what their parents left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlane.domain.events import Emit, KeyMissed
from fairlane.domain.sealing import is_sealed
from fairlane.engine.facts import NO_EXTRAS, Ready, extras, ready
from fairlane.engine.patience import DirectoryAway, ask_members
from fairlane.engine.verdict import DEFERRED, is_gone, verdict
from fairlane.registry.directory import Directory, Membership, Standing, StoredDirectory, stored_membership
from fairlane.registry.keyring import Keyring
from fairlane.registry.sealing import Ring
from fairlane.store.statements.claim import Claimed
from fairlane.store.transaction import Database


@dataclass(slots=True)
class Preparation:
    """For the claims of one worker. `locked`: organizations whose keys are not here, and which have nothing claimed."""

    database: Database
    directory: Directory
    keyring: Keyring
    emit: Emit
    locked: frozenset[str] = field(default=frozenset(), init=False)

    def are_bare(self, claimed: Sequence[Claimed], standings: Mapping[str, Standing]) -> bool:
        """Whether these begin with what their claim says: there is nothing to ask for, and no key.

        Args:
            standings: as for `prepare`.
        """
        organizations = {one.organization for one in claimed}
        if any(is_gone(standings.get(one)) for one in organizations):
            return False
        return self._have_no_key(organizations) and not any(
            (one.user is not None and not self._are_ours)
            or one.attempt > 1
            or one.has_parents
            or is_sealed(one.parameters)
            for one in claimed
        )

    def _have_no_key(self, organizations: set[str]) -> bool:
        """Whether that is known without a look."""
        rings = self.keyring.kept(organizations)
        return len(rings) == len(organizations) and not any(rings.values())

    def _ask_again(
        self, claimed: Sequence[Claimed], standings: Mapping[str, Standing]
    ) -> Mapping[str, Standing] | None:
        """How these jobs' organizations stand: a no ends jobs, so an outlook's is asked again. None: no answer."""
        gone = {one.organization for one in claimed if is_gone(standings.get(one.organization))}
        if not gone:
            return standings
        try:
            return {
                **{one: each for one, each in standings.items() if one not in gone},
                **self.directory.organizations(gone),
            }
        except DirectoryAway:
            return None

    def prepare(self, claimed: Sequence[Claimed], standings: Mapping[str, Standing]) -> list[Ready]:
        """Return each with what its attempt needs, or with the outcome that it already has.

        Args:
            standings: of their organizations, as the claim went by them.
        """
        members, stand = self._ask_members(claimed), self._ask_again(claimed, standings)
        with_more = [one for one in claimed if one.attempt > 1 or one.has_parents]
        rings = self._rings(claimed)
        more = self.database.read(lambda connection: extras(connection, self.keyring, with_more)) if with_more else {}
        return [
            ready(
                one,
                more.get(one.lease_token, NO_EXTRAS) if more else NO_EXTRAS,
                verdict(one, stand, members),
                rings.get(one.organization),
                DEFERRED,
            )
            for one in claimed
        ]

    def _rings(self, claimed: Sequence[Claimed]) -> Mapping[str, Ring]:
        """The keys of those organizations that have any; those that are not here keep their lanes shut from now on."""
        rings = self.keyring.rings_of(self.database, {one.organization for one in claimed})
        for one in claimed:
            ring = rings.get(one.organization)
            if is_sealed(one.parameters) and (ring is None or not ring.knows(one.parameters)):
                self.keyring.forget(one.organization)  # what was kept is from before the key was made
                rings |= self.keyring.rings_of(self.database, [one.organization])
        locked = {organization for organization, ring in rings.items() if ring.is_locked}
        for organization in sorted(locked - self.locked):
            self.emit(KeyMissed(organization, rings[organization].problem or ""))
        self.locked |= locked
        return rings

    def look_for_keys(self) -> None:
        """See which of the keys that were not here are here now."""
        rings = self.keyring.rings_of(self.database, self.locked)
        self.locked = frozenset(one for one in self.locked if one in rings and rings[one].is_locked)

    @property
    def _are_ours(self) -> bool:
        return isinstance(self.directory, StoredDirectory)

    def _ask_members(self, claimed: Sequence[Claimed]) -> Mapping[tuple[str, str], Membership] | None:
        """Return the members among the jobs' users, which a claim of ours has told; None: a host gives no answer."""
        if self._are_ours:
            return {
                (one.organization, one.user): stored_membership(one.role, one.permissions or "[]")
                for one in claimed
                if one.user is not None and one.role is not None
            }
        needs = {(one.organization, one.user, one.required_permission) for one in claimed if one.user is not None}
        try:
            return ask_members(self.directory, needs) if needs else {}
        except DirectoryAway:
            return None
