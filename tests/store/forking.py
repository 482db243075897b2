"""A process that forks after it has used its database: `python -m tests.store.forking URL`.

Parent and children read at the same time, each for an organization of its own; the exit code is 0 if each has got the
jobs of its own only.
"""

import os
import sys

from fairlane import Fairlane, JobContext

ORGANIZATIONS = ["acme", "rival", "third"]
LOOKS = 100


def reads_its_own(fl: Fairlane, organization: str) -> bool:
    """Return True if everything that it reads, many times, is the organization's."""
    pages = [fl.list(organization=organization) for _ in range(LOOKS)]
    return all([job.organization for job in page.items] == [organization] for page in pages)


def main(url: str) -> int:
    """Fork a child for each organization but the first."""
    with Fairlane(url) as fl:

        @fl.job_type("work")
        async def work(ctx: JobContext) -> None: ...

        for one in ORGANIZATIONS:
            fl.organizations.create(one)
            fl.submit("work", organization=one)
        children = []
        for one in ORGANIZATIONS[1:]:
            if (child := os.fork()) == 0:
                right = False
                try:
                    right = reads_its_own(fl, one)
                finally:
                    os._exit(0 if right else 1)
            children.append(child)
        mine = reads_its_own(fl, ORGANIZATIONS[0])
        return int(not mine or any(os.waitpid(child, 0)[1] for child in children))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
