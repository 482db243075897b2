"""The command line: `fairlane`, also `python -m fairlane`. It talks to people and calls the verbs of `Fairlane`.

No decision about jobs is made here, and no SQL is written; what a command prints as `--json` is a public format.
"""

from fairlane.cli.root import app


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code."""
    app(prog_name="fairlane")
