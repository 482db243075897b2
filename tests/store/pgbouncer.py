"""Debian's PgBouncer in transaction mode, with one connection to the server, which all of its clients share."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psycopg
from sqlalchemy import make_url

from tests.engine.worker_kit import until

_PROGRAM: Final = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
IS_HERE: Final = Path(_PROGRAM).exists()
_OPEN: Final = 0o777


@contextmanager
def pgbouncer(url: str, *, size: int = 1) -> Iterator[str]:
    """Yield the URL of a database through it.

    Args:
        url: of the database itself.
        size: connections to the server.
    """
    server = make_url(url)
    host = str(server.query.get("host", server.host) or "localhost")
    with closing(socket.socket()) as probe, TemporaryDirectory(prefix="pgbouncer-") as name:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        folder = Path(name)
        folder.chmod(_OPEN)  # it will not work as root
        (folder / "users").write_text(f'"{server.username}" "{server.password or ""}"\n')
        (folder / "ini").write_text(f"""
[databases]
* = host={host} port={server.port or 5432}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
ignore_startup_parameters = extra_float_digits,options
query_wait_timeout = 10
""")
        # Whose the server's socket is, for whom alone its folder may be open.
        owner = Path(host).owner() if host.startswith("/") else "nobody"
        command = [_PROGRAM, *(["-u", owner] if os.geteuid() == 0 else []), str(folder / "ini")]
        through = server.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: _answers(through))
                yield through
            finally:
                process.kill()  # else it would wait for its clients


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
