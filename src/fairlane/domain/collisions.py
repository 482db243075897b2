"""Values that were chosen to have one hash: to make a set or a dict of them takes the square of their number.

Python hashes texts by a secret. Numbers, and what is made of them (Decimal, UUID, tuples), it hashes by a known rule.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, DecimalException
from typing import Final
from uuid import UUID

from fairlane.domain.canonical import Unordered

_MOST: Final = 50  # of one hash; among values that nobody chose for it there are two


def collide(values: Iterable[object]) -> bool:
    """Return True if very many of these have one hash. A text counts as the number or the UUID that it may become.

    Args:
        values: each is there once.
    """
    return max(Counter(map(_hash, values)).values(), default=0) > _MOST


def collide_somewhere(plain: object) -> bool:
    """Return True if the members of a list in this JSON, or the names in an object, do."""
    if not isinstance(plain, dict | list):
        return False
    items = plain.values() if isinstance(plain, dict) else plain
    if len(plain) > _MOST and collide(plain if isinstance(plain, dict) else {repr(one): one for one in plain}.values()):
        return True
    return any(map(collide_somewhere, items))


def _hash(value: object) -> int:
    if isinstance(value, str):
        return _hash_of_text(value)
    if isinstance(value, Unordered):
        return hash(frozenset(map(_hash, value)))
    if isinstance(value, dict):
        value = tuple(value.values())
    return hash(tuple(map(_hash, value))) if isinstance(value, list | tuple) else hash(value)


def _hash_of_text(text: str) -> int:
    for read in (UUID, Decimal):
        try:
            return hash(read(text))
        except (ValueError, DecimalException, TypeError):  # TypeError: a signaling NaN has none
            continue
    return hash(text)
