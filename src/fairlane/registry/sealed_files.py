"""Sealed files: artifacts of organizations that have a key, in chunks, so that none has to be in memory whole.

    fl1:<version of the organization's key>\\n, 7 random bytes, then each chunk's ciphertext

Every chunk has its number and whether it is the last one in its nonce (STREAM, Hoang et al. 2015): none can be left
out, moved or cut off unseen. All are bound to the organization and to the file's path, which no other upload has.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairlane.domain.sealing import BROKEN, PREFIX
from fairlane.registry.sealing import Ring, Unreadable, place

CHUNK: Final = 64 * 1024  # bytes of content
_TAG: Final = 16
_RANDOM: Final = 7
_HEAD: Final = PREFIX.encode()
_LONGEST_HEAD: Final = 20
SEALED_HEAD: Final = len(_HEAD)  # bytes, by which a sealed file is told


def is_sealed_file(data: bytes) -> bool:
    """Whether a stored file may be a sealed one; files of organizations without keys begin as they like."""
    return data.startswith(_HEAD)


def sealed_chunks(ring: Ring, path: str, data: bytes | Path) -> Iterator[bytes]:
    """The sealed file, to be stored at `path`.

    Raises:
        ConfigurationError: the key can't be used here, or was destroyed.
    """
    ring.check()
    assert ring.active is not None
    key, prefix, bound = ring.cipher_of(ring.active), os.urandom(_RANDOM), _bound_to(ring, path)
    yield f"{PREFIX}{ring.active}\n".encode() + prefix
    number, chunks = 0, _chunks(data)
    chunk = next(chunks, b"")
    for following in chunks:
        yield bytes(key.encrypt(_nonce(prefix, number, is_last=False), chunk, bound))
        chunk, number = following, number + 1
    yield bytes(key.encrypt(_nonce(prefix, number, is_last=True), chunk, bound))


def opened_file(ring: Ring, path: str, data: bytes) -> bytes:
    """What the sealed file that is stored at `path` holds.

    Raises:
        Unreadable
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

    head, newline, rest = data[:_LONGEST_HEAD].partition(b"\n")
    version = head.removeprefix(_HEAD)
    if not newline or not version.isdigit() or len(rest) < _RANDOM:
        raise Unreadable("it is no sealed file, or it was cut", BROKEN)
    key, bound = ring.cipher_of(int(version)), _bound_to(ring, path)
    start = len(head) + 1 + _RANDOM
    prefix, sealed = data[start - _RANDOM : start], memoryview(data)[start:]
    pieces = [sealed[at : at + CHUNK + _TAG] for at in range(0, len(sealed), CHUNK + _TAG)] or [sealed]
    try:
        return b"".join(
            key.decrypt(_nonce(prefix, number, is_last=number == len(pieces) - 1), piece, bound)
            for number, piece in enumerate(pieces)
        )
    except (InvalidTag, ValueError):
        raise Unreadable("it was not sealed as this file, or it was changed or cut", BROKEN) from None


def _nonce(prefix: bytes, number: int, *, is_last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([is_last])


def _bound_to(ring: Ring, path: str) -> bytes:
    return place("file", ring.organization, path)


def _chunks(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield from (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))
        return
    with data.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
