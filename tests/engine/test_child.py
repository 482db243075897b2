"""A child process whose worker is gone before it has come up."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.patience import PATIENCE

HELLO = json.dumps({"hello": "unused", "path": sys.path, "pythonpath": None}).encode() + b"\n"


@pytest.mark.parametrize("sent", [b"", HELLO[:20], HELLO, HELLO + b'{"start": '], ids=["no", "half", "whole", "more"])
def test_it_ends_without_a_traceback(sent: bytes) -> None:
    """The worker's log has what its children say: the worker was killed, and nothing else is wrong."""
    ours, theirs = socket.socketpair()
    lifeline, end = socket.socketpair()
    with ours, theirs, lifeline, end:
        ours.sendall(sent)
        ours.close()
        ended = subprocess.run(
            [sys.executable, "-m", "fairlane.engine.executors.child", str(theirs.fileno()), str(end.fileno())],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=[theirs.fileno(), end.fileno()],
            start_new_session=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
