"""Prepare what a peer needs to run: an environment with its packages, and a fresh store."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.databases import temporary_database
from benchmarks.own_postgres import postgres_in
from benchmarks.peers.known import Known

_CACHE: Final = Path(__file__).parents[1] / ".cache"
_PYTHONS: Final = ("python3.14", "python3.13", "python3.12")
_TRAVERSABLE: Final = 0o755
_REDIS: Final = ("redis-server", "valkey-server")
_REDIS_SECONDS: Final = 10.0


class NotHere(Exception):
    """Something that a peer needs is not on this machine."""


def interpreter(name: str, known: Known) -> str:
    """The Python of the peer's environment, which is made if need be, with the newest packages.

    Raises:
        NotHere: no Python is new enough, or the packages can't be installed.
    """
    if not known.packages:
        return sys.executable
    environment = _CACHE / name
    python, mark = environment / "bin" / "python", environment / ".installed"
    if not mark.exists():
        base = sys.executable if sys.version_info >= known.python else _newer(known.python)
        _call([*_UV, "venv", "--quiet", "--clear", "--python", base, str(environment)])
        _call([*_UV, "pip", "install", "--quiet", "--python", str(python), *known.packages])
        mark.touch()
    return str(python)


_UV: Final = (sys.executable, "-m", "uv")


def _newer(oldest: tuple[int, int]) -> str:
    # A version manager's stub may be on PATH and run nothing.
    found = (path for name in _PYTHONS for path in (shutil.which(name), f"/usr/bin/{name}") if path is not None)
    for path in found:
        check = [path, "-c", f"import sys; sys.exit(sys.version_info < {oldest})"]
        if Path(path).exists() and subprocess.run(check, check=False, capture_output=True).returncode == 0:
            return path
    raise NotHere(f"no Python {oldest[0]}.{oldest[1]} here")


def _call(command: list[str]) -> None:
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise NotHere(f"it can't be installed: {ended.stderr.strip()[-300:]}")


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server with its default settings, so fsync is on, in a temporary folder."""
    with TemporaryDirectory(prefix="fairlane-peers-") as name:
        Path(name).chmod(_TRAVERSABLE)
        with postgres_in(Path(name)) as url:
            yield url


def store(known: Known, server: str | None) -> AbstractContextManager[str]:
    """A fresh store for one measurement: a database, a folder, or a Redis server of its own.

    Raises:
        NotHere: there is no Redis server.
    """
    match known.store:
        case "postgresql":
            assert server is not None
            return temporary_database(server)
        case "sqlite":
            return _file(f"{'sqlite:///' if not known.packages else ''}{{}}/jobs.db")
        case "redis":
            return _redis()


@contextmanager
def _file(url: str) -> Iterator[str]:
    with TemporaryDirectory(prefix="fairlane-peers-") as folder:
        yield url.format(folder)


def redis_server() -> str | None:
    """The program, if there is one."""
    return next((path for name in _REDIS if (path := shutil.which(name)) is not None), None)


@contextmanager
def _redis() -> Iterator[str]:
    program = redis_server()
    if program is None:
        raise NotHere("no Redis server here (Debian: apt install redis-server)")
    with socket.socket() as probe, TemporaryDirectory(prefix="fairlane-peers-") as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        # Nothing reaches the disk: what is in it dies with it. Brokers are mostly run so.
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _REDIS_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def server_for(wanted: list[Known]) -> AbstractContextManager[str | None]:
    """A PostgreSQL server, if any of the peers needs one."""
    return postgres() if any(one.store == "postgresql" for one in wanted) else nullcontext()
