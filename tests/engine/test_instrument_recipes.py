"""The recipes of docs/how-to/instrument.md that are files of their own, run with the real libraries."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs import DOCS, blocks_of

pytestmark = pytest.mark.slow

# It submits a job, and runs it.
PROGRAM = """
import importlib, json, sys
fl = importlib.import_module(sys.argv[1]).fl
fl.migrate()
fl.organizations.create("acme")
print(fl.submit("invoice.charge", organization="acme", parameters=json.load(sys.stdin)).id)
fl.worker().drain()
"""


def run(folder: Path, module: str, parameters: dict[str, object], **environment: str) -> tuple[str, str]:
    """Run a recipe's job; return the job's id, and what the program printed after it."""
    (block,) = [one for one in blocks_of(DOCS / "how-to" / "instrument.md") if one.title == f"{module}.py"]
    (folder / block.title).write_text(block.text)
    (folder / "program.py").write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, "program.py", module],
        input=json.dumps(parameters),
        cwd=folder,
        env=os.environ | {"FAIRLANE_URL": "sqlite:///jobs.db"} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    job, _, rest = ended.stdout.partition("\n")
    return job, rest


def test_the_recipe_for_opentelemetry_makes_spans(tmp_path: Path) -> None:
    job, printed = run(tmp_path, "traced", {"number": 7})
    spans = {one["name"]: one for one in documents(printed)}
    assert spans.keys() == {"submit invoice.charge", "process invoice.charge", "ask the bank"}
    (link,) = spans["process invoice.charge"]["links"]
    assert link["context"]["span_id"] == spans["submit invoice.charge"]["context"]["span_id"]
    assert spans["process invoice.charge"]["attributes"]["messaging.message.id"] == job


def documents(text: str) -> Iterator[Any]:
    """Yield JSON values that follow each other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        found, end = decoder.raw_decode(text)
        yield found
        text = text[end:]


def test_the_recipe_for_structlog_names_the_job_in_its_lines(tmp_path: Path) -> None:
    job, printed = run(tmp_path, "structured", {"number": 7})
    (line,) = [json.loads(one) for one in printed.splitlines()]
    assert line == {
        "event": "charging",
        "invoice": 7,
        "level": "info",
        "job_id": job,
        "organization": "acme",
        "job_type": "invoice.charge",
        "attempt": 1,
    }


@contextmanager
def sentry() -> Iterator[tuple[str, list[bytes]]]:
    """Serve as Sentry would: yield the address for its clients, and the envelopes that they send."""
    sent: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://public@127.0.0.1:{server.server_port}/1", sent
        finally:
            server.shutdown()
            thread.join()


def test_the_recipe_for_sentry_reports_the_error_with_its_job_and_without_secrets(tmp_path: Path) -> None:
    with sentry() as (address, sent):
        job, _ = run(tmp_path, "reported", {"number": 7, "password": "hunter22"}, SENTRY_DSN=address)
    everything = b"\n".join(sent).decode()
    events = [one for one in map(json.loads, filter(None, everything.splitlines())) if "event_id" in one]
    (event,) = [one for one in events if "exception" in one]
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "the bank refused invoice 7, password=[redacted]")
    assert error["stacktrace"]["frames"][-1]["function"] == "charge"
    assert event["tags"] == {"organization": "acme", "job_type": "invoice.charge"}
    assert event["contexts"]["job"] == {"id": job, "attempt": 1}
    assert "hunter22" not in everything
