"""`fairlane serve`, up to where it serves; what it serves is tested in a process of its own."""

import gc
import signal
import socket

import pytest

from fairlane.cli.server import ApiServer
from tests.cli.conftest import Run


@pytest.mark.slow
@pytest.mark.usefixtures("own_heap")
def test_the_garbage_collector_leaves_alone_what_was_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[int] = []

    def serve(_server: ApiServer, sockets: list[socket.socket]) -> None:
        frozen.append(gc.get_freeze_count())
        for one in sockets:
            one.close()

    monkeypatch.setattr(ApiServer, "run", serve)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of the tests stay
    run("serve", "--port", 0)

    assert frozen[0] > 0
    assert gc.get_freeze_count() == 0
