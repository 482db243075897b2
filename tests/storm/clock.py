"""Workers whose own clock lies: a library, loaded before all others, shifts what the machine tells the process.

Only the time of day is shifted, as by somebody who sets a clock; monotonic clocks stay, as they do then.
"""

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("lying_clock.c")
_FILE: Final = "STORM_CLOCK"  # environment variable: a file with the shift, in seconds


def build(directory: Path) -> Path | None:
    """The library; None where there is no way to load one before the others, or nothing to compile it with."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return None
    library = directory / "lying_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def environment(library: Path | None, file: Path) -> Mapping[str, str]:
    """What makes a process and its children go by the clock in the file."""
    return {"LD_PRELOAD": str(library), _FILE: str(file)} if library is not None else {}


def shift(file: Path, seconds: int) -> None:
    """Shift the clock of the processes that go by the file, at once."""
    # In place: they have this very file in their memory.
    with file.open("r+b" if file.exists() else "w+b") as out:
        out.write(struct.pack("=q", seconds))
