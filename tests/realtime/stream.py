"""A reader of server-sent events that waits for none, so that its owner does other things meanwhile."""

import select
import socket
from urllib.parse import urlsplit

from tests.api.served import Api
from tests.patience import PATIENCE


class Stream:
    """A reader of an organization's events as they come, without waiting for any."""

    def __init__(self, api: Api, secret: str, path: str) -> None:
        where = urlsplit(api.url)
        self.told = ""
        self._socket = socket.create_connection((where.hostname or "", where.port or 0))
        asked = f"GET /api/v1{path}/events HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {secret}\r\n\r\n"
        self._socket.sendall(asked.encode())
        self.wait_for("event: subscribed")

    def wait_for(self, text: str) -> None:
        while text not in self.told:
            assert select.select([self._socket], [], [], PATIENCE)[0], f"{text} was never told"
            self.read()

    def read(self) -> None:
        while select.select([self._socket], [], [], 0)[0]:
            received = self._socket.recv(65_536)
            assert received, self.told
            self.told += received.decode()

    def close(self) -> None:
        self._socket.close()
