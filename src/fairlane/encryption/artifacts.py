"""Artifacts: the files that jobs produce, stored by organization with obstore (a folder, memory, S3, …)."""

import mimetypes
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import quote, unquote, urlparse
from uuid import UUID

import obstore
from obstore.store import LocalStore, MemoryStore, from_url
from typing_extensions import Buffer

from fairlane.domain.errors import ConfigurationError, StorageUnavailable
from fairlane.encryption.keyring import Keyring
from fairlane.encryption.pieces import pieces_of
from fairlane.encryption.sealed_files import (
    LONGEST_HEAD,
    is_sealed_file,
    opened_range,
    sealed_chunks,
)
from fairlane.encryption.sealing import Ring
from fairlane.store.engine import engine_at
from fairlane.store.transaction import Database

_UNKNOWN_TYPE: Final = "application/octet-stream"
# Bytes of a piece of a download. A slow download keeps a few pieces in memory.
_PIECE: Final = 32 * 1024
_LONGEST_FOLDER: Final = 200  # bytes; file systems allow 255

_ERRORS: Final = (OSError, obstore.exceptions.BaseError)
# The parts of an error that may be shown: the rest of its text has addresses, paths and ids of credentials.
_SAID: Final = re.compile(r"(?<=status code: )\d{3}|(?<=<Code>)\w+(?=</Code>)|(?<=: )[\w ]+\(os error \d+\)")
_NO_BUCKET: Final = re.compile("<Code>(NoSuchBucket|ContainerNotFound)</Code>")  # of S3 and Google, of Azure


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored file: the id of its upload, its path, and its properties: `size` in bytes, `sha256` in hex."""

    id: UUID
    path: str
    size: int
    content_type: str
    sha256: str


class GivenFile(NamedTuple):
    """A file to store, under the name that its handler gave it."""

    name: str
    data: bytes | Path | BinaryIO
    content_type: str | None


class ObjectStorage:
    """The storage of artifacts' bytes, by URL: file:///…, memory:///, s3://…, gs://…, az://….

    Only the database knows whose file a path is. A missing folder is created at its first use, so that reading a
    database leaves no folder behind. A new folder is only for its owner (mode 0700); an existing one keeps its mode.

    Raises:
        ConfigurationError: the URL can't be used.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        folder = folder_of(url)
        if folder is None or folder.exists():
            try:
                _ = self._store
            except (ValueError, *_ERRORS) as error:
                raise ConfigurationError(f"artifacts_url {self.url!r} can't be used: {error}") from error

    @cached_property
    def _store(self) -> obstore.store.ObjectStore:
        return _open(self.url)

    def put(self, path: str, data: bytes | Path | BinaryIO | Iterator[bytes]) -> None:
        """Store bytes, in one piece or in several, or a file's content: all or nothing.

        Raises:
            StorageUnavailable: the storage did not store it.
        """
        try:
            obstore.put(self._store, path, data)
        except _ERRORS as error:
            raise _unavailable("take a file", error) from error

    def get(self, path: str) -> bytes:
        """Return the bytes at `path`.

        Raises:
            FileNotFoundError: there is no such file.
            StorageUnavailable: the storage did not hand it out.
        """
        with _translated("hand out a file"):
            return bytes(obstore.get(self._store, path).bytes())

    def stream(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop` (excluded), in pieces of 32 KiB at most.

        Raises:
            FileNotFoundError: there is no such file.
            StorageUnavailable: the storage did not return it. Both are raised at once, this one also later.
        """
        with _translated("hand out a file"):
            if start >= stop:
                obstore.head(self._store, path)
                return iter(())
            found = obstore.get(self._store, path, options={"range": (start, stop)})
        return _pieces(found.stream(min_chunk_size=_PIECE))

    def delete(self, path: str) -> None:
        """Delete the file at `path`. A missing file is no error.

        Raises:
            StorageUnavailable: the storage did not delete it.
        """
        with suppress(FileNotFoundError), _translated("delete a file"):
            obstore.delete(self._store, path)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Translate errors of the storage: a missing file, or a storage that does not work."""
    try:
        yield
    except _ERRORS as error:
        if isinstance(error, FileNotFoundError) and not _NO_BUCKET.search(str(error)):
            raise
        raise _unavailable(what, error) from error


def _unavailable(what: str, error: Exception) -> StorageUnavailable:
    said = " ".join(dict.fromkeys(_SAID.findall(str(error)))) or type(error).__name__
    return StorageUnavailable(
        f"The artifact storage did not {what}: {said}. "
        "If this goes on, check artifacts_url, its bucket or folder, and the credentials."
    )


def _pieces(stream: Iterable[Buffer]) -> Iterator[bytes]:
    with _translated("hand out a file"):
        for given in stream:
            chunk = memoryview(given)  # for some storages it is as long as the file
            yield from (bytes(chunk[at : at + _PIECE]) for at in range(0, len(chunk), _PIECE))


def _open(url: str) -> obstore.store.ObjectStore:
    folder = folder_of(url)
    if folder is not None:
        # The umask decides the modes of the files, so the folder itself has to keep others out.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(folder)
    return MemoryStore() if urlparse(url).scheme == "memory" else from_url(url)


def folder_of(url: str) -> Path | None:
    """Return the folder of a file:// URL, in which a space may be %20; None for a URL of another kind.

    Raises:
        ConfigurationError: it names a machine, for example because it has two slashes instead of three.
    """
    parsed = urlparse(url)
    if parsed.scheme != "file":
        return None
    if parsed.netloc not in {"", "localhost"}:
        raise ConfigurationError(f"The URL of a folder has three slashes; write file:///{parsed.netloc}{parsed.path}.")
    return Path(unquote(parsed.path))


def default_url(database_url: str) -> str:
    """Return a folder beside a SQLite file, else one in the working directory."""
    kind = engine_at(database_url)
    if kind.is_in_memory(database_url):
        return "memory:///"
    file = kind.file_of(database_url)
    folder = Path.cwd() / "fairlane-artifacts" if file is None else file.parent / f"{file.stem}-artifacts"
    return folder.as_uri()


def path_of(organization: str, job_id: UUID, file_id: UUID) -> str:
    """Return the path for a file, which contains no text from a handler.

    Each upload has its own id and path. So even a late upload overwrites no other, and a deleted path is never used
    again.
    """
    return f"{_folder(organization)}/{job_id}/{file_id}"


def _folder(organization: str) -> str:
    """Return a different name for each organization, which any storage accepts."""
    quoted = quote(organization, safe="")
    if organization in {".", ".."}:
        return quoted.replace(".", "%2E")
    # No quoted text has a "=".
    return quoted if len(quoted) <= _LONGEST_FOLDER else f"={sha256(organization.encode()).hexdigest()}"


def store_file(
    storage: ObjectStorage,
    file_id: UUID,
    path: str,
    file: GivenFile,
    ring: Ring | None = None,
) -> StoredFile:
    """Store a file at its path. Its type is guessed by its name unless it is given.

    Args:
        ring: the keys of the organization, if it has any: then the file is stored encrypted.
    """
    name, data, content_type = file
    digest, size = _digest(data)
    if ring is not None:
        digest = ring.fingerprint(digest)
        storage.put(path, sealed_chunks(ring, path, data))
    else:
        if not isinstance(data, bytes | Path):
            data.seek(0)
        storage.put(path, data)
    guessed = content_type or mimetypes.guess_type(name)[0] or _UNKNOWN_TYPE
    return StoredFile(file_id, path, size, guessed, digest)


def stream_file(  # noqa: PLR0917 - whose file it is, and which bytes
    storage: ObjectStorage,
    keyring: Keyring,
    database: Database,
    organization: str,
    path: str,
    size: int,
    start: int,
    stop: int,
) -> Iterator[bytes]:
    """Yield the bytes of an organization's file from `start` up to `stop` (excluded), in pieces.

    Of an encrypted file only the needed chunks are read. Call this outside transactions.

    Args:
        size: of the whole file.

    Raises:
        FileNotFoundError: it is not in this storage; raised at once, before the first piece.
        StorageUnavailable: the storage or the database did not answer, at once or later.
        Unreadable: it can't be decrypted; raised at once, or later if a further chunk was changed.
    """
    if start >= stop:
        return storage.stream(path, start, stop)
    head = b"".join(storage.stream(path, 0, LONGEST_HEAD))
    ring = keyring.rings_of(database, [organization]).get(organization) if is_sealed_file(head) else None
    if ring is None:
        return storage.stream(path, start, stop)
    return opened_range(ring, path, head, size, start, stop, partial(storage.stream, path))


def _digest(data: bytes | Path | BinaryIO) -> tuple[str, int]:
    if isinstance(data, bytes):
        return sha256(data).hexdigest(), len(data)
    digest, size = sha256(), 0
    for chunk in pieces_of(data):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
