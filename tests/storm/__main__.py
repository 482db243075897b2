"""`python -m tests.storm`: kill, stop and cut off everything that can be, and prove that no job is lost.

It prints what was done and what was found, and leaves the figures in tests/storm/figures, from which
docs/reliability.md is made. The exit code is 1, and no figures are left, if the storm failed: what that is, the page
says. A seed gives the same plan of jobs and faults again; when exactly they meet, no
seed says.
"""

import argparse
import secrets
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.storm import bounds, profiles, results
from tests.storm.storm import Profile, run

_TRAVERSABLE: Final = 0o755


def main() -> int:
    """Read the command line and do what it says; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--database", choices=profiles.DATABASES, default=profiles.POSTGRESQL)
    parser.add_argument("--seed", type=int, help="of an earlier storm; the default is a new one")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--jobs", type=int, help="how many; faults and time go with it")
    size.add_argument("--long", action="store_true", help="a million jobs")
    size.add_argument("--short", action="store_true", help="the storm of the tests; its figures are not kept")
    parser.add_argument("--seconds", type=float, help="over how long, where the machine is too slow for the pace")
    parser.add_argument("--out", type=Path, help="where the figures go, in place of tests/storm/figures")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else secrets.randbelow(10**6)
    profile = _profile(asked)
    say(f"{asked.database}, seed {seed}: {profile.jobs:,} jobs in {profile.seconds + profile.outage:.0f} s.")
    directory = Path(tempfile.mkdtemp(prefix="fairlane-storm-"))
    # A PostgreSQL that root starts is another user's, who has to enter.
    directory.chmod(_TRAVERSABLE)
    report = run(asked.database, profile, seed, directory)
    for line in results.told(report):
        say(line)
    if bounds.failed(report):
        results.save(asked.database, report, directory / "figures.json")
        (directory / "injected").write_text("\n".join(results.injected(report)), encoding="utf-8")
        say(f"Run it again: {results.command(asked.database, seed, _size(asked))}")
        say(f"What was injected, and what the workers did and said, is in {directory}.")
        return 1
    shutil.rmtree(directory)
    if not asked.short:
        results.save(asked.database, report, asked.out)
    return 0


def _profile(asked: argparse.Namespace) -> Profile:
    if asked.short:
        profile = profiles.SHORT[asked.database]
    else:
        profile = profiles.long(asked.database) if asked.long else profiles.full(asked.database, asked.jobs)
    return replace(profile, seconds=asked.seconds or profile.seconds)


def _size(asked: argparse.Namespace) -> str:
    size = "--long" if asked.long else "--short" if asked.short else f"--jobs {asked.jobs}" if asked.jobs else ""
    return f"{size} --seconds {asked.seconds:g}".lstrip() if asked.seconds else size


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
