"""The checksum of a long archive, block by block: work that can be stopped between any two blocks."""

import hashlib
from typing import Final

BLOCK_BYTES: Final = 256 * 1024  # under a millisecond of hashing, so the event loop stays free


def block(number: int) -> bytes:
    """Return a block of the pretended archive: generated, always the same, and not compressible."""
    return hashlib.shake_128(f"block {number}".encode()).digest(BLOCK_BYTES)


def chained(checksum: str, data: bytes) -> str:
    """Return the checksum of all blocks so far and `data`.

    Unlike a running SHA-256 it is plain text, so it can be stored.
    """
    return hashlib.sha256(checksum.encode() + data).hexdigest()
