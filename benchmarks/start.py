"""How much processor time the command line takes to start: `make bench-start`.

Of several runs the least is told: other work on the machine adds to all, and takes from none.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fairlane import Fairlane

COMMANDS = ("--version", "--help", "jobs list -o acme", "orgs list", "worker --help", "jobs --help")
RUNS = 7


def seconds(command: str, environment: dict[str, str], *flags: str) -> float:
    """Return the processor time of one run, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = [sys.executable, *flags, "-m", "fairlane", *command.split()]
    subprocess.run(program, env=os.environ | environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line for each command."""
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'jobs.db'}"
        with Fairlane(url) as fl:
            fl.migrate()
            fl.organizations.create("acme")
        bare = ("-B", "-X", f"pycache_prefix={folder}/none")
        print(f"{'command':<20} {'CPU s':>6} {'without bytecode':>17}")
        for command in COMMANDS:
            compiled = min(seconds(command, {"FAIRLANE_URL": url}) for _ in range(RUNS))
            without = min(seconds(command, {"FAIRLANE_URL": url}, *bare) for _ in range(3))
            print(f"{command:<20} {compiled:>6.2f} {without:>17.2f}")


if __name__ == "__main__":
    main()
