"""Which errors of an artifact storage are outages, and which are failures at once (R5, R7)."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from obstore.store import from_url

from fairlane import JobContext, StorageUnavailable
from fairlane.domain.errors import InstallationError
from fairlane.registry import artifacts
from fairlane.registry.artifacts import ObjectStorage
from tests.runtime.worker_kit import engine

REFUSALS: Final = [
    (403, "AccessDenied"),
    (401, "InvalidAccessKeyId"),
    (404, "NoSuchBucket"),
    (400, "InvalidArgument"),
    (400, "AuthorizationHeaderMalformed"),
    (405, "MethodNotAllowed"),
    (301, "PermanentRedirect"),
]
OUTAGES: Final = [
    (400, "RequestTimeout"),
    (408, "RequestTimeout"),
    (409, "OperationAborted"),
    (429, "SlowDown"),
    (500, "InternalError"),
    (503, "SlowDown"),
]


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


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_what_only_a_person_can_mend_is_refused_in_a_sentence(bucket: Bucket, status: int, code: str):
    bucket.answer = (status, code)
    for call in calls(ObjectStorage("s3://bucket/")):
        with pytest.raises(InstallationError, match="Check that artifacts_url is right") as refused:
            call()
        assert "127.0.0.1" not in str(refused.value)
        assert "acme" not in str(refused.value)


@pytest.mark.parametrize(("status", "code"), OUTAGES)
def test_what_may_pass_is_an_outage(bucket: Bucket, status: int, code: str):
    bucket.answer = (status, code)
    for call in calls(ObjectStorage("s3://bucket/")):
        with pytest.raises(StorageUnavailable, match=f"now: .*{code}"):
            call()


def test_a_file_that_is_not_there_is_neither(bucket: Bucket):
    bucket.answer = (404, "NoSuchKey")
    put, get, stream, delete = calls(ObjectStorage("s3://bucket/"))
    for call in (get, stream):
        with pytest.raises(FileNotFoundError):
            call()
    delete()
    with pytest.raises(InstallationError):
        put()


def test_a_folder_in_which_nothing_can_be_made_is_refused(tmp_path: Path):
    (tmp_path / "acme").write_text("a file where a folder has to be")
    with pytest.raises(InstallationError):
        ObjectStorage(tmp_path.as_uri()).put("acme/file", b"words")


def test_a_job_whose_file_is_refused_fails_at_once(database_url: str, bucket: Bucket):
    bucket.answer = (403, "AccessDenied")
    with engine(database_url, artifacts_url="s3://bucket/") as fl:

        @fl.job_type("report", max_retries=5)
        def report(ctx: JobContext) -> None:
            ctx.artifact("report.txt", b"words")

        job = fl.submit("report", organization="acme")
        fl.worker().drain()
        ended = fl.get(job.id, organization="acme")
        assert (ended.status, ended.error_type, ended.attempt) == ("dead_letter", "InstallationError", 1)
        assert "403 AccessDenied" in (ended.error_message or "")
        assert "Check that artifacts_url is right" in fl.explain(job.id, organization="acme").summary


def test_a_storage_that_does_not_answer_is_an_outage(bucket: Bucket):
    bucket.shutdown()
    bucket.server_close()
    for call in calls(ObjectStorage("s3://bucket/")):
        with pytest.raises(StorageUnavailable):
            call()
