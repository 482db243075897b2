"""Sealed files: encrypted artifacts of organizations with a key, in chunks, so that no file is in memory whole.

    fl2:<version of the organization's key>\\n, 16 random bytes: the file's id, then each chunk's ciphertext

Each file has its own key, derived from the organization's key by the file's id. So no nonce is used twice with a key,
however many files there are. The nonce of a chunk has its number, and whether it is the last one (STREAM, Hoang et al.
2015). So a missing, moved or cut chunk is detected. All chunks are bound to the organization and to the file's path,
which no other upload has.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from fairlane.domain.sealing import BROKEN
from fairlane.encryption.pieces import in_pieces, pieces_of
from fairlane.encryption.sealing import Ring, Unreadable, cipher, derived, place

CHUNK: Final = 64 * 1024  # bytes of content
_SEALED: Final = CHUNK + 16  # with its tag
_ID: Final = 16
_HEAD: Final = b"fl2:"
_LONGEST_VERSION: Final = 12
LONGEST_HEAD: Final = len(_HEAD) + _LONGEST_VERSION + 1 + _ID  # bytes with the key's version and the file's id


class _Opener(NamedTuple):
    """The decryption of a file's chunks. `start`: the position of the first chunk in the file."""

    key: Any
    bound_to: bytes
    start: int

    def opened(self, number: int, sealed: bytes | memoryview, *, is_last: bool) -> bytes:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

        try:
            return bytes(self.key.decrypt(_nonce(number, is_last=is_last), sealed, self.bound_to))
        except (InvalidTag, ValueError):
            raise Unreadable("it was not sealed as this file, or it was changed or cut.", BROKEN) from None


def version_of(head: bytes) -> int | None:
    """Return the version of the organization's key that encrypted a file; None if it is not encrypted, or cut.

    Args:
        head: the first `LONGEST_HEAD` bytes of the stored file.
    """
    line, newline, _ = head.partition(b"\n")
    version = line.removeprefix(_HEAD)
    return int(version) if is_sealed_file(head) and newline and version.isdigit() else None


def is_sealed_file(data: bytes) -> bool:
    """Return True if a stored file may be encrypted.

    A file of an organization without keys may begin with the same bytes.
    """
    return data.startswith(_HEAD)


def sealed_chunks(ring: Ring, path: str, data: bytes | Path | BinaryIO | Iterator[bytes]) -> Iterator[bytes]:
    """Yield the encrypted file, to be stored at `path`.

    Args:
        data: the content, its path, or its pieces.

    Raises:
        ConfigurationError: the key can't be used here, or was destroyed.
    """
    ring.check()
    assert ring.active is not None
    file_id, bound = os.urandom(_ID), _bound_to(ring, path)
    key = _key_of(ring, ring.active, file_id)
    yield _HEAD + f"{ring.active}\n".encode() + file_id
    number, chunks = 0, pieces_of(data, CHUNK)
    chunk = next(chunks, b"")
    for following in chunks:
        yield bytes(key.encrypt(_nonce(number, is_last=False), chunk, bound))
        chunk, number = following, number + 1
    yield bytes(key.encrypt(_nonce(number, is_last=True), chunk, bound))


def opened_range(  # noqa: PLR0917 - which file, and which bytes of it
    ring: Ring,
    path: str,
    head: bytes,
    size: int,
    start: int,
    stop: int,
    fetch: Callable[[int, int], Iterable[bytes]],
) -> Iterator[bytes]:
    """Yield the bytes of an encrypted file from `start` up to `stop` (excluded), reading only their chunks.

    Args:
        head: the first `LONGEST_HEAD` bytes of the stored file.
        size: of the file's content.
        fetch: returns the stored bytes from one position up to another, in pieces.

    Raises:
        Unreadable: at once if the head or the first chunk can't be decrypted, or later for another chunk.
    """
    opener = _opener(ring, path, head)
    first, final, last = start // CHUNK, (stop - 1) // CHUNK, (size - 1) // CHUNK
    end = min((final + 1) * _SEALED, size + (last + 1) * (_SEALED - CHUNK))
    pieces = in_pieces(fetch(opener.start + first * _SEALED, opener.start + end), _SEALED)

    def opened() -> Iterator[bytes]:
        for number in range(first, final + 1):
            wanted = slice(max(start - number * CHUNK, 0), stop - number * CHUNK)
            # No variable keeps a chunk in memory while a slow reader has it.
            yield opener.opened(number, next(pieces, b""), is_last=number == last)[wanted]

    chunks = opened()
    beginning = [next(chunks)]

    def all_of_them() -> Iterator[bytes]:
        yield beginning.pop()
        yield from chunks

    return all_of_them()


def _opener(ring: Ring, path: str, data: bytes) -> _Opener:
    line, newline, _ = data[:LONGEST_HEAD].partition(b"\n")
    version, start = line.removeprefix(_HEAD), len(line) + 1 + _ID
    if not is_sealed_file(data) or not newline or not version.isdigit() or len(data) < start:
        raise Unreadable("it is no sealed file, or it was cut.", BROKEN)
    file_id = data[start - _ID : start]
    return _Opener(_key_of(ring, int(version), file_id), _bound_to(ring, path), start)


def _key_of(ring: Ring, version: int, file_id: bytes) -> Any:
    return cipher(derived(ring.key_of(version), f"fairlane file {file_id.hex()}"))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _bound_to(ring: Ring, path: str) -> bytes:
    return place("file", ring.organization, path)
