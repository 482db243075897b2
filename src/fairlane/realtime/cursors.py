"""Cursors: a position of the feed, sealed, so that it says nothing to whoever holds it.

The log is all organizations', and its numbers would tell one how much the others do. All cursors are of one length: it
would tell how many transactions of others are open. All nodes share the key.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from os import urandom
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlane.domain.log_cursor import Position

_NONCE: Final = 12  # bytes
_GAPS: Final = 16  # that a cursor holds at most
_PLAIN: Final = 59  # bytes, of which 16 gaps near each other take that many; 116 characters when sealed
_LONGEST: Final = 2_000  # characters
_PURPOSE: Final = b"fairlane feed cursor of one length"
_BEYOND: Final = Position(2**63 - 1)  # no log has that number: `catch_up` takes nobody on from there


class Cursors:
    """Makes and reads cursors.

    Args:
        key: 32 bytes in hex.
    """

    def __init__(self, key: str) -> None:
        self._cipher = AESGCM(bytes.fromhex(key))

    def seal(self, position: Position) -> str:
        """Return the cursor of a position.

        Of one with many gaps it is that of one before, from which some is told again.
        """
        nonce = urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, _plain(position), _PURPOSE)
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, cursor: str) -> Position | None:
        """Return the position of a cursor; None: it is none of ours."""
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
    """Makes cursors where nobody knows what their holders miss: whoever comes back with one begins anew."""

    def seal(self, position: Position) -> str:
        """Return one that says nothing of the position."""
        return super().seal(_BEYOND)


def _plain(position: Position) -> bytes:
    """Return the bytes with as many gaps as there is room for."""
    tries = (_packed(_spelled(position.within(gaps))) for gaps in range(_GAPS, -1, -1))
    return next(packed for packed in tries if len(packed) <= _PLAIN).ljust(_PLAIN, b"\0")


def _spelled(position: Position) -> Iterator[int]:
    """Return its numbers, mostly small ones: of gaps how far each begins behind the one before, and its length."""
    yield position.high
    before = 0
    for first, last in position.gaps:
        yield first - before
        yield last - first + 1
        before = last


def _packed(numbers: Iterable[int]) -> bytes:
    """Return seven bits in each byte, the lowest first; the eighth says that there are more."""
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
