"""The wait of a failed job before its next attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

DEFAULT_BASE = 60.0
DEFAULT_CAP = 6 * 3600.0
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential (`base` · 2^(n-1), at most `cap`) or an explicit list of `delays`; seconds, ± 20 % jitter.

    The last of `delays` serves all further retries.
    """

    base: float = DEFAULT_BASE
    cap: float = DEFAULT_CAP
    delays: tuple[float, ...] = ()

    def seconds(self, retry: int, random: Random) -> float:
        """Return the wait before retry number `retry` (from 1)."""
        if self.delays:
            nominal = self.delays[min(retry, len(self.delays)) - 1]
        else:
            # 2.0 ** 1024 overflows; the cap is reached long before.
            nominal = min(self.cap, self.base * 2.0 ** min(retry - 1, 64))
        return nominal * random.uniform(1 - JITTER, 1 + JITTER)

    @classmethod
    def of(cls, delays: Sequence[float]) -> "Backoff":
        """Make a backoff of an explicit list of waits, in seconds."""
        return cls(delays=tuple(delays))
