"""Build the dashboard into a wheel or a source distribution.

Without npm the package has no dashboard, and `fairlane serve` says how to get it. An editable install never builds the
dashboard: `make dashboard` does. A source distribution carries the built dashboard, so its wheel needs no npm.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ROOT = Path(__file__).parent
_BUILT = _ROOT / "src" / "fairlane" / "dashboard" / "index.html"


class DashboardHook(BuildHookInterface[Any]):
    """Called by hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the dashboard, unless the install is editable or the source distribution brings it."""
        is_brought = (_ROOT / "PKG-INFO").is_file() and _BUILT.is_file()
        if version == "editable" or is_brought:
            return
        if shutil.which("npm") is None:
            self.app.display_warning("There is no npm, so the package has no dashboard. Install Node.js 20 or newer.")
            return
        for command in (["npm", "ci", "--loglevel=error", "--no-update-notifier"], ["npm", "run", "--silent", "build"]):
            subprocess.run(command, cwd=_ROOT / "frontend", check=True)
