"""A file that a job leaves need not fit into memory, sealed or not: neither where it is stored nor where it is read."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fairlane import ArtifactNotFound, JobContext, JobNotFound
from fairlane.store.statements import attempts
from fairlane.store.tables import AnyRow
from tests.engine.sealed_engine import FIRST
from tests.engine.worker_kit import Engine, engine

pytestmark = pytest.mark.slow

SIZE = 300 * 1024 * 1024  # bytes
MOST = 250 * 1024 * 1024  # of memory; the program alone takes 100, the whole file held once 400

# A process's largest memory counts from before its exec, when it was its parent: a shell is a small one.
FORKED = ("sh", "-c", '"$@"; exit $?', "sh")
PROGRAM = f"""
import resource, sys
from pathlib import Path
from fairlane import Fairlane, JobContext, Settings

is_sealed, folder = sys.argv[1] == "sealed", Path(sys.argv[2])
keys = {{"encryption_keys": {FIRST!r}}} if is_sealed else {{}}
fl = Fairlane(Settings(url=f"sqlite:///{{folder / 'jobs.db'}}", **keys))

@fl.job_type("work")
def work(ctx: JobContext) -> None:
    ctx.artifact("large", folder / "large")

fl.migrate()
fl.organizations.create("acme")
if is_sealed:
    fl.keys.enable(organization="acme")
with (folder / "large").open("wb") as file:
    for number in range({SIZE} // 1024**2):
        file.write(bytes([number % 256]) * 1024**2)
job = fl.submit("work", organization="acme")
fl.worker().drain()
fl.save_artifact(job, "large", folder / "saved", organization="acme")
size = sum(map(len, fl.stream_artifact(job, "large", organization="acme")))
print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.parametrize("how", ["plain", "sealed"])
def test_a_large_file_passes_through_no_memory(how: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [*FORKED, sys.executable, "-c", PROGRAM, how, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )

    size, memory = map(int, ended.stdout.split())
    assert size == SIZE
    assert memory < MOST
    with (tmp_path / "saved").open("rb") as file:
        for number in range(SIZE // 1024**2):
            assert file.read(1024**2) == bytes([number % 256]) * 1024**2


ONCE = 200 * 1024 * 1024  # bytes
LEFT_AND_READ = f"""
import filecmp, resource, sys
from pathlib import Path
from fairlane import Fairlane, Settings
from tests.acceptance.apps import handlers

is_sealed, isolation, handler, folder = sys.argv[1] == "sealed", *sys.argv[2:]
keys = {{"encryption_keys": {FIRST!r}}} if is_sealed else {{}}
fl = Fairlane(Settings(url=f"sqlite:///{{folder}}/jobs.db", **keys))
fl.job_type("leave", isolation=isolation)(getattr(handlers, handler))
fl.job_type("keep", isolation="thread" if isolation == "async" else isolation)(handlers.keep_large)
fl.migrate()
fl.organizations.create("acme")
if is_sealed:
    fl.keys.enable(organization="acme")
with Path(folder, "large").open("wb") as file:
    for number in range({ONCE} // 1024**2):
        file.write(bytes([number % 256]) * 1024**2)
parent = fl.submit("leave", organization="acme", parameters={{"folder": folder}})
job = fl.submit("keep", organization="acme", parameters={{"folder": folder}}, depends_on=parent)
fl.worker().drain()
is_same = filecmp.cmp(Path(folder, "large"), Path(folder, "saved"), shallow=False)
who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
memory = max(resource.getrusage(one).ru_maxrss for one in who) * 1024
print(is_same, fl.result(job, organization="acme").value, memory)
"""


@pytest.mark.parametrize("how", ["plain", "sealed"])
@pytest.mark.parametrize(
    ("isolation", "handler"),
    [
        ("thread", "leave_open_file"),
        ("thread", "leave_iterator"),
        ("async", "leave_async_iterator"),
        ("process", "leave_iterator"),
    ],
)
def test_what_can_be_read_only_once_passes_through_no_memory(
    how: str, isolation: str, handler: str, tmp_path: Path
) -> None:
    """Nor does it where a child reads it, in a thread or a process."""
    program = [*FORKED, sys.executable, "-c", LEFT_AND_READ, how, isolation, handler, str(tmp_path)]
    ended = subprocess.run(program, capture_output=True, text=True, check=True, timeout=300)

    is_same, size, memory = ended.stdout.split()
    assert (is_same, int(size)) == ("True", ONCE)
    assert int(memory) < MOST


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:

        @fl.job_type("work")
        def work(ctx: JobContext) -> None:
            ctx.artifact("report", b"a" * 100)

        yield fl


async def test_pieces_come_without_blocking_the_loop(fl: Engine, tmp_path: Path) -> None:
    job = fl.give("work")
    await asyncio.to_thread(fl.drain)
    pieces = [piece async for piece in await fl.aio.stream_artifact(job, "report", organization="acme")]
    assert b"".join(pieces) == b"a" * 100
    saved = await fl.aio.save_artifact(job, "report", tmp_path / "report", organization="acme")
    assert saved.read_bytes() == b"a" * 100


async def test_a_megabyte_comes_at_a_time_as_each_piece_takes_a_thread(fl: Engine) -> None:
    @fl.job_type("large")
    def large(ctx: JobContext) -> None:
        ctx.artifact("large", bytes(5 << 19))

    job = fl.give("large")
    await asyncio.to_thread(fl.drain)
    sizes = [len(piece) async for piece in await fl.aio.stream_artifact(job, "large", organization="acme")]
    assert sizes == [1 << 20, 1 << 20, 1 << 19]


async def test_what_is_not_there_is_refused_before_the_first_piece(fl: Engine) -> None:
    job = fl.give("work")
    await asyncio.to_thread(fl.drain)
    fl.organizations.create("other")
    with pytest.raises(JobNotFound):
        await fl.aio.stream_artifact(job, "report", organization="other")
    with pytest.raises(ArtifactNotFound, match="has no artifact 'none'; it has report"):
        await fl.aio.stream_artifact(job, "none", organization="acme")


def test_of_a_job_with_many_files_the_one_alone_is_looked_up(fl: Engine) -> None:
    @fl.job_type("pages")
    def pages(ctx: JobContext) -> None:
        for page in range(12):
            ctx.artifact(f"page-{page:02}", b"page")

    job, read = fl.give("pages"), list[int]()
    real = attempts.artifacts_of

    def counted(*asked: Any, **more: Any) -> Sequence[AnyRow]:
        found = real(*asked, **more)
        read.append(len(found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "artifacts_of", counted)
        fl.drain()
        assert fl.artifact(job, "page-11", organization="acme") == b"page"
        assert set(read) == {0, 1}
        with pytest.raises(ArtifactNotFound, match=r"it has page-00, .*, page-09, others\.$"):
            fl.artifact(job, "none", organization="acme")
    assert max(read) == 11
    assert len(fl.list_artifacts(job, organization="acme").artifacts) == 12


def test_what_is_not_there_leaves_no_file(fl: Engine, tmp_path: Path) -> None:
    job = fl.give("work")
    fl.drain()
    fl.organizations.create("other")
    with pytest.raises(JobNotFound):
        fl.save_artifact(job, "report", tmp_path / "file", organization="other")
    with pytest.raises(ArtifactNotFound):
        fl.save_artifact(job, "none", tmp_path / "file", organization="acme")
    fl.artifacts.delete(fl.find_artifact(job, "report", organization="acme").path)
    with pytest.raises(ArtifactNotFound, match="give it the artifacts_url that the worker has"):
        fl.save_artifact(job, "report", tmp_path / "file", organization="acme")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    job = fl.give("work", dedup_key="another")
    fl.drain()
    with pytest.raises(FileExistsError):
        fl.save_artifact(job, "report", tmp_path / "file", organization="acme")
    assert (tmp_path / "file").read_text() == "mine"
