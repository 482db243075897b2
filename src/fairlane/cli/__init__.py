"""The command line: `fairlane`, also `python -m fairlane`. It calls the verbs of `Fairlane` and prints the results.

It decides nothing about jobs, and has no SQL. The output of `--json` is a public format.
"""

import sys
from typing import Final

INTERRUPTED: Final = 130  # the exit code of a process that SIGINT ended


def print_version() -> None:
    """Print what `fairlane --version` prints."""
    from importlib.metadata import version

    print(f"fairlane {version('fairlane')}")


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        print_version()  # without the commands, which import the database's libraries: scripts call this often
        return
    try:
        # Imported here: it takes most of a second, in which a user may press Ctrl-C.
        from fairlane.cli.root import app
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted before anything was started.\n")
        sys.exit(INTERRUPTED)
    app(prog_name="fairlane")
