"""How one claim round's free slots are shared among organizations."""

from collections.abc import Sequence


def quotas(organizations: Sequence[str], slots: int, turn: int) -> dict[str, int]:
    """How many jobs each organization may start this round.

    Every organization gets the same whole share; the slots that are left over go round by `turn`, a number that grows
    by one each round: each round begins where the one before ended, so n organizations and r such slots are through
    in ⌈n / r⌉ rounds. Organizations without a share are left out.
    """
    names = sorted(set(organizations))
    if not names or slots <= 0:
        return {}
    share, rest = divmod(slots, len(names))
    first = turn * rest % len(names)
    lucky = {names[(first + step) % len(names)] for step in range(rest)}
    shares = {name: share + (name in lucky) for name in names}
    return {name: quota for name, quota in shares.items() if quota > 0}
