"""Cursors: positions in the feed, encrypted so that their holders can't read them.

All organizations share the log, and its numbers would show how much other organizations do. All cursors have the same
length: it would show how many transactions of others are open. All nodes share the key.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from os import urandom
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlane.domain.log_cursor import Position

_NONCE: Final = 12  # bytes
_GAPS: Final = 16  # most gaps of a cursor
_PLAIN: Final = 59  # bytes, enough for 16 gaps near each other; 116 characters when encrypted
_LONGEST: Final = 2_000  # characters
_PURPOSE: Final = b"fairlane feed cursor of one length"
_BEYOND: Final = Position(2**63 - 1)  # no log has this number, so `catch_up` returns None


class Cursors:
    """A maker and reader of cursors.

    Args:
        key: 32 bytes in hex.
    """

    def __init__(self, key: str) -> None:
        self._cipher = AESGCM(bytes.fromhex(key))

    def seal(self, position: Position) -> str:
        """Return the cursor of a position.

        If the position has many gaps, it is the cursor of an earlier one, and some events are sent again.
        """
        nonce = urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, _plain(position), _PURPOSE)
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, cursor: str) -> Position | None:
        """Return the position of a cursor; None: the cursor is not valid."""
        if len(cursor) > _LONGEST or not cursor.isascii():
            return None
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            plain = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _PURPOSE)
        except (ValueError, InvalidTag):
            return None
        high, *ahead = _numbers(plain)
        gaps: list[tuple[int, int]] = []
        last = 0
        for start, size in zip(ahead[::2], ahead[1::2], strict=False):
            if not size:
                break  # the rest is padding
            first, last = last + start, last + start + size - 1
            gaps.append((first, last))
        return Position(high, tuple(gaps))


class Vague(Cursors):
    """A maker of cursors for a time in which missed events are unknown: a client that returns with one starts anew."""

    def seal(self, position: Position) -> str:
        """Return a cursor that does not hold the position."""
        return super().seal(_BEYOND)


def _plain(position: Position) -> bytes:
    """Return the position as bytes, with as many gaps as fit."""
    tries = (_packed(_spelled(position.within(gaps))) for gaps in range(_GAPS, -1, -1))
    return next(packed for packed in tries if len(packed) <= _PLAIN).ljust(_PLAIN, b"\0")


def _spelled(position: Position) -> Iterator[int]:
    """Yield the position as mostly small numbers: each gap's distance from the one before, and its length."""
    yield position.high
    before = 0
    for first, last in position.gaps:
        yield first - before
        yield last - first + 1
        before = last


def _packed(numbers: Iterable[int]) -> bytes:
    """Return the numbers with seven bits in each byte, the lowest first; the eighth bit says that more follow."""
    packed = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            packed.append(rest & 0x7F | 0x80)
            rest >>= 7
        packed.append(rest)
    return bytes(packed)


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte <= 0x7F:
            yield number
            number = shift = 0
