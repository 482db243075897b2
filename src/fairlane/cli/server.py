"""The HTTP server of `fairlane serve`."""

import socket

import uvicorn
from fastapi import FastAPI


class ApiServer(uvicorn.Server):
    """Uvicorn, which ends sockets and streams before it waits for open requests: they would never end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._live = app.state.web.live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._live.close()
        await super().shutdown(sockets)
