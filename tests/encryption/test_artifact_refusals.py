"""An artifact storage that refuses files holds its jobs, and the error says what to check (R5, R7)."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from obstore.store import from_url

from fairlane import JobContext, StorageUnavailable
from fairlane.encryption import artifacts
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.testing import ManualClock
from tests.acceptance.apps.handlers import read_parents
from tests.engine.worker_kit import engine

REFUSALS: Final = [
    (301, "PermanentRedirect", "GenericError"),
    (400, "ExpiredToken", "400 ExpiredToken"),
    (401, "InvalidAccessKeyId", "401 InvalidAccessKeyId"),
    (403, "RequestTimeTooSkewed", "403 RequestTimeTooSkewed"),
    (404, "NoSuchBucket", "404 NoSuchBucket"),
    (404, "ContainerNotFound", "404 ContainerNotFound"),
    (412, "PreconditionFailed", "412 PreconditionFailed"),
    (503, "SlowDown", "503 SlowDown"),
]
CHECK: Final = "If this goes on, check artifacts_url, its bucket or folder, and the credentials"


class Bucket(ThreadingHTTPServer):
    """A server that answers each request with one status and one code of S3."""

    answer = (503, "SlowDown")

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, code = self.server.answer  # type: ignore[attr-defined]
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("ETag", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - so its base calls them

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The one that s3://bucket names in this process."""
    with Bucket() as server:
        settings = {
            "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "here",
            "AWS_ALLOW_HTTP": "true",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        # obstore itself tries what may pass again for a minute.
        monkeypatch.setattr(artifacts, "from_url", partial(from_url, retry_config={"max_retries": 0}))
        yield server
        server.shutdown()


def calls(storage: ObjectStorage) -> list[Callable[[], object]]:
    return [
        lambda: storage.put("acme/file", b"words"),
        lambda: storage.get("acme/file"),
        lambda: storage.stream("acme/file", 0, 4),
        lambda: storage.delete("acme/file"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("status", "code", "said"), REFUSALS)
def test_a_refusal_is_an_outage_and_says_what_the_storage_said(bucket: Bucket, status: int, code: str, said: str):
    bucket.answer = (status, code)
    for call in calls(ObjectStorage("s3://bucket/")):
        with pytest.raises(StorageUnavailable, match=f": {said}\\. {CHECK}") as refused:
            call()
        assert "127.0.0.1" not in str(refused.value)
        assert "acme" not in str(refused.value)


def test_a_file_that_is_not_there_is_none(bucket: Bucket):
    bucket.answer = (404, "NoSuchKey")
    put, get, stream, delete = calls(ObjectStorage("s3://bucket/"))
    for call in (get, stream):
        with pytest.raises(FileNotFoundError):
            call()
    delete()
    with pytest.raises(StorageUnavailable):
        put()


def test_a_folder_in_which_nothing_can_be_made_is_an_outage(tmp_path: Path):
    storage = ObjectStorage((tmp_path / "artifacts" / "here").as_uri())
    (tmp_path / "artifacts").touch()
    with pytest.raises(StorageUnavailable, match="NotADirectoryError"):
        storage.put("acme/file", b"words")
    (tmp_path / "acme").touch()
    with pytest.raises(StorageUnavailable, match=r": Not a directory \(os error 20\)\. "):
        ObjectStorage(tmp_path.as_uri()).put("acme/file", b"words")


def test_a_job_whose_file_is_refused_waits_until_it_is_taken(database_url: str, bucket: Bucket):
    clock = ManualClock()
    with engine(database_url, clock=clock, artifacts_url="s3://bucket/") as fl:

        @fl.job_type("report", max_retries=0)
        def report(ctx: JobContext) -> None:
            ctx.artifact("report.txt", b"words")

        bucket.answer = (403, "AccessDenied")
        job = fl.give("report")
        fl.drain()
        waiting = fl.look(job)
        assert (waiting.status, waiting.retry_count) == ("queued", 0)
        for told in (fl.explain(job.id, organization="acme").summary, fl.reasons(job)):
            assert f": 403 AccessDenied. {CHECK}" in told
        bucket.answer = (200, "none")
        clock.advance(400)
        fl.drain()
        assert fl.look(job).status == "completed"


def test_a_job_waits_for_a_parent_s_file_while_the_volume_is_not_mounted(database_url: str, tmp_path: Path):
    clock, folder = ManualClock(), tmp_path / "artifacts"
    with engine(database_url, clock=clock, artifacts_url=folder.as_uri()) as fl:

        @fl.job_type("writer")
        def write(ctx: JobContext) -> None:
            ctx.artifact("a.txt", "words")

        fl.job_type("reader", max_retries=0)(read_parents)
        parent = fl.give("writer")
        fl.drain()
        away = folder.rename(tmp_path / "away")
        job = fl.give("reader", depends_on=[parent.id])
        fl.drain()
        assert fl.look(job).status == "queued"
        told = fl.explain(job.id, organization="acme").summary
        assert "check its artifacts_url and that the volume is mounted" in told
        away.rename(folder)
        clock.advance(400)
        fl.drain()
        assert fl.value(job) == ["words"]


def test_a_storage_that_does_not_answer_is_an_outage(bucket: Bucket):
    bucket.shutdown()
    bucket.server_close()
    for call in calls(ObjectStorage("s3://bucket/")):
        with pytest.raises(StorageUnavailable):
            call()
