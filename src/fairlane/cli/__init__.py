"""The command line: `fairlane`, also `python -m fairlane`. It talks to people and calls the verbs of `Fairlane`.

No decision about jobs is made here, and no SQL is written; what a command prints as `--json` is a public format.
"""

import sys
from typing import Final

INTERRUPTED: Final = 130  # what shells report for a process that SIGINT ended


def print_version() -> None:
    """Print what `fairlane --version` prints."""
    from importlib.metadata import version

    print(f"fairlane {version('fairlane')}")


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        print_version()  # without the commands, which need the database's libraries: scripts ask for it often
        return
    try:
        # Here, since it takes most of a second, in which somebody may press Ctrl-C.
        from fairlane.cli.root import app
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted before anything was begun.\n")
        sys.exit(INTERRUPTED)
    app(prog_name="fairlane")
