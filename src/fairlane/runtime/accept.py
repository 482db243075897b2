"""What a handler hands over, checked before it goes on its way: texts, files and their names."""

import re
from pathlib import Path
from typing import BinaryIO, Final

from fairlane.domain.errors import PermanentError

CHECKPOINT_LIMIT: Final = 1024 * 1024  # bytes
TEXT_LIMIT: Final = 10_000  # characters of a log line or a progress message
NAME_LIMIT: Final = 200  # characters of an artifact's name

_MEDIA_TYPE: Final = re.compile("[!-.0-~]+/[!-~][ -~]*")  # printable ASCII

Data = bytes | bytearray | memoryview | str | Path | BinaryIO


def storable(text: str) -> str:
    """What any database can hold: a character that can't be stored is no reason for a job to fail."""
    return text[:TEXT_LIMIT].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def contents(data: Data) -> bytes | Path:
    """What to make a file of.

    Raises:
        FileNotFoundError: there is nothing at the path.
        TypeError: nothing that a file can be made of.
    """
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if not isinstance(data, Path):
        if not hasattr(data, "read"):
            raise TypeError(
                "an artifact is made of bytes, text, a path or an open binary file, "
                f"not of {type(data).__name__}; give json.dumps(…) of it for a JSON file"
            )
        return data.read()
    if not data.is_file():
        raise FileNotFoundError(f"there is no file {data} to make an artifact of")
    # Whoever reads it may be another process, and this one may change its directory.
    return data.absolute()


def safe_name(name: str) -> str:
    """An artifact's name that no path can be made of. Raises PermanentError for any other."""
    if not name.strip() or len(name) > NAME_LIMIT:
        raise PermanentError(f"an artifact's name has 1 to {NAME_LIMIT} characters: {name[:NAME_LIMIT]!r}")
    if not name.isprintable():
        raise PermanentError(f"an artifact's name has printable characters only: {name!r}")
    if "/" in name or "\\" in name or ".." in name or name == ".":
        raise PermanentError(f"an artifact's name is no path, so it has no slash and no '..': {name!r}")
    return name


def media_type(content_type: str | None) -> str | None:
    """A content type that can be a header of a download. Raises PermanentError for any other."""
    if content_type is not None and (len(content_type) > NAME_LIMIT or not _MEDIA_TYPE.fullmatch(content_type)):
        raise PermanentError(
            f"a content type is a media type like 'text/csv' or 'text/plain; charset=utf-8', at most {NAME_LIMIT} "
            f"printable ASCII characters: {content_type[:NAME_LIMIT]!r}"
        )
    return content_type
