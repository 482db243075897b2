"""Numbers that handlers give."""

import math
from typing import SupportsFloat, SupportsIndex


def number_of(rule: str, value: str | SupportsFloat | SupportsIndex) -> float:
    """Return a number as a float.

    Args:
        rule: how the sentence of a refusal begins, such as "percent must be a number, not".

    Raises:
        ValueError: it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{rule} {value!r:.80}.")
    return number
