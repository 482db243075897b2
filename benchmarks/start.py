"""Measure the processor time that the command line takes to start: `make bench-start`.

The result is the median of ten runs, and the least of them: other work on the machine only adds time.
"""

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.own_postgres import postgres_in
from fairlane import Fairlane

COMMANDS = ("--version", "--help", "jobs list -o acme", "orgs list", "worker --help", "jobs --help")
ON_POSTGRESQL = ("jobs list -o acme", "orgs list")
RUNS = 10


def seconds(command: str, environment: dict[str, str]) -> float:
    """Return the processor time of one run, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = [sys.executable, "-m", "fairlane", *command.split()]
    subprocess.run(program, env=os.environ | environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(url: str, commands: Iterable[str]) -> None:
    """Print a line for each command, on a new database."""
    with Fairlane(url) as fl:
        fl.migrate()
        fl.organizations.create("acme")
    for command in commands:
        runs = [seconds(command, {"FAIRLANE_URL": url}) for _ in range(RUNS)]
        print(f"{command:<20} {url.partition(':')[0]:<12} {statistics.median(runs):>6.2f} {min(runs):>6.2f}")


def main() -> None:
    """Print how much processor time each command takes, on each database."""
    print(f"{'command':<20} {'database':<12} {'median':>6} {'least':>6}")
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL refuses to be root, so root's server is another user's
        measure(f"sqlite:///{Path(folder) / 'jobs.db'}", COMMANDS)
        with postgres_in(Path(folder)) as url:
            measure(url, ON_POSTGRESQL)


if __name__ == "__main__":
    main()
