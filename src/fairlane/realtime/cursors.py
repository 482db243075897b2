"""Cursors: a position of the feed, sealed, so that it says nothing to whoever holds it.

The log is all organizations', and its numbers would tell one how much the others do. All nodes share the key.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from os import urandom
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlane.domain.tail import Position

_NONCE: Final = 12  # bytes
_GAPS: Final = 16  # that a cursor holds
_LONGEST: Final = 2_000  # characters
_PURPOSE: Final = b"fairlane feed cursor"


class Cursors:
    """Makes and reads cursors.

    Args:
        key: 32 bytes in hex.
    """

    def __init__(self, key: str) -> None:
        self._cipher = AESGCM(bytes.fromhex(key))

    def seal(self, position: Position) -> str:
        """The cursor of a position; of one with many gaps, of one before it, from which some is told again."""
        kept = position.within(_GAPS)
        gaps = ",".join(f"{first}-{last}" for first, last in kept.gaps)
        nonce = urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, f"{kept.high};{gaps}".encode(), _PURPOSE)
        return urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, cursor: str) -> Position | None:
        """The position of a cursor; None: it is none of ours."""
        if len(cursor) > _LONGEST or not cursor.isascii():
            return None
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            text = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _PURPOSE).decode()
        except (ValueError, InvalidTag):
            return None
        high, _, gaps = text.partition(";")
        pairs = (one.split("-") for one in gaps.split(",") if one)
        return Position(int(high), tuple((int(first), int(last)) for first, last in pairs))
