"""A web service that is down at first, and its client. Real HTTP on this machine's loopback, standard library only."""

import json
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Final, Self
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

UNAVAILABLE: Final = 503
RATES: Final = {"CHF": 0.94, "GBP": 0.85, "USD": 1.08}  # examples, not today's

# The service is on this machine: a proxy that the environment names could not reach it.
_opener: Final = build_opener(ProxyHandler({}))


class ServiceUnavailable(Exception):
    """The service said 503: it may be better in a moment."""


def fetch_rates(url: str, timeout: float = 5) -> dict[str, float]:
    """Return the rates at `url`, waiting `timeout` seconds at most.

    Raise `ServiceUnavailable` on 503, else what urllib raises.
    """
    if not url.startswith("http://"):  # urllib would open file:// too, and `url` is a job's parameter
        raise ValueError(f"{url!r} is not an http address")
    try:
        with _opener.open(url, timeout=timeout) as response:
            rates: dict[str, float] = json.load(response)
            return rates
    except HTTPError as error:
        if error.code == UNAVAILABLE:
            raise ServiceUnavailable(f"{url} answered {error.code}") from error
        raise


class FlakyService:
    """Answers 503 to the first `failures` requests for each key, then 200 with the rates; serves while entered."""

    def __init__(self, failures: int = 2) -> None:
        self._failures = failures
        self._requests = Counter[str]()
        self._lock = Lock()
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, name="flaky-service", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def url_for(self, key: str) -> str:
        """Return the address of one key's rates; a key may be any text."""
        return f"{self.url}/{quote(key, safe='')}"

    def requests(self, key: str) -> int:
        """Return how often the key has been asked for."""
        with self._lock:
            return self._requests[quote(key, safe="")]

    def answer(self, path_key: str) -> int:
        """Count a request and say which status it gets."""
        with self._lock:
            self._requests[path_key] += 1
            return UNAVAILABLE if self._requests[path_key] <= self._failures else 200


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: FlakyService) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)  # port 0: any that is free
        self.service = service


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        status = self.server.service.answer(self.path.lstrip("/"))
        body = json.dumps(RATES if status == 200 else {"error": "try again"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: standard error belongs to the demo's display."""
