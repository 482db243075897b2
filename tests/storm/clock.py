"""Workers whose own clock lies: a library, loaded before all others, shifts what the machine tells the process.

Only the time of day is shifted, as by somebody who sets a clock; monotonic clocks stay, as they do then.
"""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.storm.memory import StormFailed

_SOURCE: Final = Path(__file__).with_name("lying_clock.c")
_LIBRARY: Final = "lying_clock.so"
_COMPILER: Final = "cc"
_FILE: Final = "STORM_CLOCK"  # environment variable: a file with the shift, in seconds


def can_lie() -> bool:
    """Return True if this machine can compile a library and load it before the others."""
    return sys.platform == "linux" and shutil.which(_COMPILER) is not None


def build(directory: Path) -> Path:
    """The library.

    Raises:
        StormFailed: it can't be made here.
    """
    if not can_lie():
        raise StormFailed(f"Only on Linux, and with a C compiler named {_COMPILER}, can clocks be made to lie.")
    library = directory / _LIBRARY
    subprocess.run([_COMPILER, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def require() -> None:
    """See that the library is in this process, where it was to be loaded, and the file that it goes by.

    Raises:
        StormFailed: this process goes by its machine's clock.
    """
    if _FILE in os.environ:
        loaded = Path("/proc/self/maps").read_text(encoding="utf-8")
        if _LIBRARY not in loaded or os.environ[_FILE] not in loaded:
            raise StormFailed(f"{_LIBRARY} was not loaded, so no clock can lie to this process; see LD_PRELOAD.")


def variables(library: Path | None, file: Path) -> Mapping[str, str]:
    """Return the variables that make a process and its children use the clock in the file."""
    return {"LD_PRELOAD": str(library), _FILE: str(file)} if library is not None else {}


def shift(file: Path, seconds: int) -> None:
    """Shift the clock of the processes that go by the file, at once."""
    # In place: they have this very file in their memory.
    with file.open("r+b" if file.exists() else "w+b") as out:
        out.write(struct.pack("=q", seconds))
