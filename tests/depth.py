"""`FAIRLANE_TEST_DEPTH` says how far those tests go that could always go further.

`short`, the default: a little way. `long`: for `make test-all` and CI. `whole`: as far as what they prove is promised,
which takes hours.
"""

import os
from typing import Final

_DEPTHS: Final = ("short", "long", "whole")
_DEPTH: Final = _DEPTHS.index(os.environ.get("FAIRLANE_TEST_DEPTH", "short"))
IS_SHORT: Final = _DEPTH == 0


def far(short: int, long: int, whole: int) -> int:
    """The one of these numbers that is asked for."""
    return (short, long, whole)[_DEPTH]
