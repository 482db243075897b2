"""Real clients of a real `fairlane serve`, which stops although they stay."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import websockets
from websockets import CloseCode

from fairlane import Fairlane, JobContext
from fairlane.realtime.sockets import LARGEST
from tests.acceptance.test_serve import serving
from tests.needs import unable
from tests.realtime.watching import PATIENCE, Watcher

pytestmark = pytest.mark.slow

MODULES = Path(__file__).parents[2] / "frontend" / "node_modules"
WATCH = Path(__file__).with_name("watch.cjs")


def report(ctx: JobContext) -> None: ...


@contextmanager
def serve(database_url: str) -> Iterator[Any]:
    """A process that serves, as seen from outside, and the database's application here."""
    with Fairlane(database_url) as fl:
        fl.job_type("report", dedup_window=0)(report)
        fl.migrate()
        if fl.organizations.list() == ():
            fl.organizations.create("acme")
        fl.members.add("acme", "ana")
        secret = fl.tokens.create(organization="acme", as_user="ana", name="test")[1]
        with serving(database_url, "--host", "0.0.0.0", lines=1) as (printed,):
            found = re.search(r"http://0\.0\.0\.0:(\d+)", printed)
            assert found is not None, printed
            yield SimpleNamespace(fl=fl, url=f"http://127.0.0.1:{found[1]}", secret=secret)


async def test_it_tells_a_python_client_and_ends_with_sockets_and_streams_open(database_url: str):
    async with AsyncExitStack() as clients:
        with serve(database_url) as served:
            watcher = await clients.enter_async_context(Watcher(served, "ana", "acme", secret=served.secret))
            assert (await watcher.subscribe(organization="acme"))["room"] == "org:acme"
            job = served.fl.submit("report", organization="acme", user="ana")
            await asyncio.to_thread(served.fl.worker().drain)
            await watcher.until_status(job.id, "completed")
            assert watcher.statuses(job.id) == ["queued", "running", "completed"]
            client = await clients.enter_async_context(httpx.AsyncClient())
            headers = {"Authorization": f"Bearer {served.secret}"}
            url = f"{served.url}/api/v1/organizations/acme/events"
            stream = await clients.enter_async_context(client.stream("GET", url, headers=headers))
            assert stream.status_code == 200
        # The process has ended, though neither was closed.
        await asyncio.wait_for(watcher.is_gone.wait(), PATIENCE)


async def test_a_message_that_is_too_long_is_not_read_to_its_end(tmp_path: Path):
    with serve(f"sqlite:///{tmp_path / 'jobs.db'}") as served:
        place = f"{served.url.replace('http', 'ws', 1)}/api/v1/socket.io/?EIO=4&transport=websocket"
        async with websockets.connect(place, ping_interval=None) as connection, asyncio.timeout(PATIENCE):
            await connection.send("4" * (LARGEST + 1))
            await connection.wait_closed()
    assert connection.close_code == CloseCode.MESSAGE_TOO_BIG


async def test_who_watched_a_server_that_was_started_again_has_missed_nothing(database_url: str):
    with serve(database_url) as served:
        async with Watcher(served, "ana", "acme", secret=served.secret) as watcher:
            await watcher.subscribe(organization="acme")
            known = served.fl.submit("report", organization="acme")
            await watcher.until_status(known.id, "queued")
    with serve(database_url) as served:
        missed = served.fl.submit("report", organization="acme")
        await asyncio.to_thread(served.fl.worker().drain)
        async with Watcher(served, "ana", "acme", secret=served.secret) as back:
            answer = await back.subscribe(organization="acme", after=watcher.told[-1][1]["cursor"])
            assert answer["reset"] is False
            await back.until_status(missed.id, "completed")
            assert back.statuses(known.id) == ["running", "completed"]
            assert back.statuses(missed.id) == ["queued", "running", "completed"]


def test_it_tells_a_client_as_browsers_have_it(database_url: str):
    if shutil.which("node") is None or not (MODULES / "socket.io-client").is_dir():
        unable("There is no socket.io-client; install Node.js, and run `npm ci` in frontend/.")
    with serve(database_url) as served:
        _watch_from_node(served)


def _watch_from_node(served: Any) -> None:
    node = subprocess.Popen(
        ["node", str(WATCH), served.url, served.secret, "acme"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"NODE_PATH": str(MODULES)},
    )
    assert node.stdout is not None
    name, answer = json.loads(node.stdout.readline())
    assert (name, answer["room"]) == ("subscribed", "org:acme")
    job = served.fl.submit("report", organization="acme", user="ana")
    served.fl.worker().drain()
    told = [json.loads(line)[1] for line in node.stdout]
    assert [one["to_status"] for one in told] == ["queued", "running", "completed"]
    assert {one["job_id"] for one in told} == {str(job.id)}
    assert node.wait(timeout=20) == 0
    node.stdout.close()
