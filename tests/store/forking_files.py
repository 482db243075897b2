"""A process that forks beside its SQLite file: `python -m tests.store.forking_files SCENE URL`.

The exit code is 0 if all was as the scene says.
"""

import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from fairlane import ConfigurationError, Fairlane, JobContext


def made(url: str) -> Fairlane:
    """Return an application on the file."""
    fl = Fairlane(url)

    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None: ...

    return fl


def forked(do: Callable[[], bool]) -> int:
    """Return the id of a child that does it, and ends with 0 if it returns True."""
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = do()
        finally:
            os._exit(0 if right else 1)
    return child


def succeeds(do: Callable[[], bool]) -> bool:
    """Return True if a forked child did it."""
    return os.waitpid(forked(do), 0)[1] == 0


def submits(fl: Fairlane) -> bool:
    """Submit a job, which raises if it can't be."""
    fl.submit("work", organization="acme")
    return True


def is_refused(do: Callable[[], object], file: str) -> bool:
    """Return True if the sentence about forks is raised."""
    try:
        do()
    except ConfigurationError as error:
        return f"forked while {file} was open" in str(error) and "spawn" in str(error)
    return False


def closed(url: str) -> bool:
    """Fork after the first use, close, and have the child submit before and after a look of a third process."""
    fl = made(url)
    submits(fl)
    closing = os.pipe()

    def child() -> bool:
        os.close(closing[1])
        os.read(closing[0], 1)  # until the parent has closed its own
        submits(fl)
        os.write(sys.stdout.fileno(), b"look\n")
        sys.stdin.readline()  # until the third process has looked
        # It has forked as well, and its own child has the file for itself.
        return submits(fl) and succeeds(lambda: submits(fl))

    one = forked(child)
    fl.close()
    os.close(closing[1])
    return os.waitpid(one, 0)[1] == 0


def writing(url: str) -> bool:
    """Fork beside a thread that writes, and once more when it has written."""
    fl = made(url)
    file = url.removeprefix("sqlite:///")
    link = Path(file).with_name("link.db")
    link.symlink_to(file)
    has_begun, may_end = threading.Event(), threading.Event()

    def write(_: object) -> None:
        has_begun.set()
        may_end.wait()

    def child() -> bool:
        other = made(f"sqlite:///{link}")
        uri = made(f"sqlite:///file:{file}?uri=true")
        return (
            is_refused(lambda: submits(fl), file)
            and is_refused(lambda: fl.list(organization="acme"), file)
            and is_refused(lambda: submits(other), str(link))
            and is_refused(lambda: submits(uri), file)
            and succeeds(lambda: is_refused(lambda: submits(made(url)), file))
        )

    writer = threading.Thread(target=fl.database.write, args=[write], kwargs={"of": "acme"})
    writer.start()
    has_begun.wait()
    right = succeeds(child)  # at once, as the other still writes
    may_end.set()
    writer.join()
    return right and submits(fl) and succeeds(lambda: submits(fl)) and submits(fl)


def lent(url: str) -> bool:
    """Fork beside a connection of the application's own."""
    fl = made(url)
    file = url.removeprefix("sqlite:///")
    own = sqlite3.connect(file)
    fl.submit("work", organization="acme", connection=own)
    own.commit()

    def child() -> bool:
        other = sqlite3.connect(file)
        by_other = is_refused(lambda: fl.submit("work", organization="acme", connection=other), file)
        return by_other and is_refused(lambda: submits(fl), file)

    right = succeeds(child)
    own.close()
    return right and succeeds(lambda: submits(fl))


def unused(url: str) -> bool:
    """Fork after a migration, with nothing open; all of them submit."""
    with made(url) as before:
        before.migrate()
    fl = made(url)
    return succeeds(lambda: submits(fl)) and submits(fl) and succeeds(lambda: submits(made(url)))


if __name__ == "__main__":
    scene: Callable[[str], bool] = globals()[sys.argv[1]]
    sys.exit(int(not scene(sys.argv[2])))
