"""Describe the machine of a measurement: without it, figures say nothing."""

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_CPU_FILE: Final = Path("/proc/cpuinfo")
_CPU_LINE: Final = "model name"


def machine() -> dict[str, Any]:
    """Describe this machine, and what runs on it."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "fairlane": version("fairlane"),
    }


def _processor() -> str:
    if _CPU_FILE.exists():
        for line in _CPU_FILE.read_text(encoding="utf-8").splitlines():
            if line.startswith(_CPU_LINE):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def described(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on the machine, the database and the sizes, for people."""
    this, database = document["machine"], dict(document["database"])
    yield (
        f"{this['cores']} cores, {this['processor']}, {this['system']}, "
        f"Python {this['python']}, Fairlane {this['fairlane']}"
    )
    settings = ", ".join(f"{name} = {value}" for name, value in database.items() if name not in {"kind", "version"})
    yield f"{database['kind']} {database['version']}: {settings}"
    yield f"{document['jobs']:,} jobs a run, {document['samples']:,} jobs for a latency"
