"""Files of several jobs in one ZIP."""

import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

_UNSAFE: Final = re.compile(r"[^\w.\- ]+")
_LONGEST: Final = 100  # characters of a name, so that no file system refuses it
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # the zero of ZIP's calendar: the same files give the same bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to pack, in a folder of its own report."""

    folder: str
    name: str
    data: bytes


def safe_name(name: str) -> str:
    """Return a name that leads nowhere but into its folder on any system, whatever a user called it."""
    kept = _UNSAFE.sub("_", name)[-_LONGEST:].strip(". ")
    return kept or "unnamed"


def pack(entries: Iterable[Entry]) -> bytes:
    """Pack the entries as a ZIP, in order. Of two with the same name the second becomes `name-2`."""
    archive, taken = io.BytesIO(), set[str]()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in entries:
            path = _free(f"{safe_name(entry.folder)}/{safe_name(entry.name)}", taken)
            taken.add(path.lower())
            info = zipfile.ZipInfo(path, date_time=_EARLIEST)
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, entry.data)
    return archive.getvalue()


def _free(path: str, taken: set[str]) -> str:
    """Return `path`, numbered if it is taken. Case does not tell files apart on every system."""
    original, number = PurePosixPath(path), 2
    while path.lower() in taken:
        path = str(original.with_stem(f"{original.stem}-{number}"))
        number += 1
    return path
