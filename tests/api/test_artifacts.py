"""Downloads: streamed, in ranges, under safe names, and never as a page of this site."""

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import update

from fairlane import Fairlane, JobContext, JobStatus
from fairlane.api.downloads import disposition, media_type, part_of
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.encryption.sealed_files import LONGEST_HEAD
from fairlane.store.tables import artifacts
from tests.api.served import Api
from tests.patience import PATIENCE

HOSTILE = {
    'a"; filename="evil.exe': "text/plain",
    "page.html": "text/html",
    "drawing.svg": "image/svg+xml",
    "ünïcødé 文.txt": "text/plain; charset=utf-8",
    "%2e%2e%2f": "text/plain",
    ".hidden": "text/javascript",
}


# What no file may be called, and what the log of the job says of it.
REFUSED = {
    "../x": "no path",
    "a\r\nx-injected: 1": "printable characters only",
    "C:\\x": "no path",
    ".": "no path",
    "..": "no path",
    "/etc/passwd": "no path",
    "x" * 201: "1 to 200 characters",
    " ": "1 to 200 characters",
}


@pytest.fixture
def path(api: Api) -> str:
    """Return the address of the files of a job."""
    make(api.fl)
    job = api.fl.submit("files", organization="acme", user="member")
    api.run()
    return f"/organizations/acme/jobs/{job.id}/artifacts"


def make(fl: Fairlane) -> None:
    @fl.job_type("files")
    def files(ctx: JobContext) -> None:
        ctx.artifact("digits", b"0123456789")
        ctx.artifact("empty", b"")
        ctx.artifact("large", bytes(range(256)) * 20_000)
        for name, kind in HOSTILE.items():
            ctx.artifact(name, name.encode(), content_type=kind)


def assert_harmless(answer: httpx.Response) -> None:
    """A file that no browser shows, under a name without folders."""
    assert answer.status_code == 200
    shown = answer.headers["content-disposition"]
    assert shown.startswith('attachment; filename="')
    assert not set(shown) & set("\r\n\\/")
    assert ".." not in shown
    assert len(shown) < 1000
    assert answer.headers["content-type"].partition(";")[0] in {"text/plain", "application/octet-stream"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "x-injected" not in answer.headers
    assert "set-cookie" not in answer.headers


def test_files_are_handed_out_as_harmless_attachments_whatever_they_are_called(api: Api, path: str):
    client = api.as_("member")
    listed = {one["name"] for one in client.get(path).json()["artifacts"]}
    assert listed == HOSTILE.keys() | {"digits", "empty", "large"}
    for name in HOSTILE:
        answer = client.get(f"{path}/{''.join(f'%{byte:02x}' for byte in name.encode())}")
        assert answer.content == name.encode()
        assert_harmless(answer)


def test_a_name_that_could_be_a_path_or_a_header_is_refused_for_good_and_nothing_is_stored(api: Api):
    @api.fl.job_type("named")
    def named(ctx: JobContext, name: str) -> None:
        ctx.artifact(name, b"content")

    jobs = {
        name: api.fl.submit("named", organization="acme", user="member", parameters={"name": name}) for name in REFUSED
    }
    api.run()
    client = api.as_("member")
    for name, why in REFUSED.items():
        job = api.fl.get(jobs[name].id, organization="acme")
        assert (job.status, job.attempt) == (JobStatus.DEAD_LETTER, 1)
        assert why in str(job.error_message)
        files = f"/organizations/acme/jobs/{job.id}/artifacts"
        assert client.get(files).json()["artifacts"] == []
        assert client.get(f"{files}/{quote(name, safe='').replace('.', '%2e')}").status_code == 404


def test_a_name_that_came_into_the_database_otherwise_is_made_harmless(api: Api, path: str):
    for name in REFUSED.keys() - {"x" * 201}:  # which it does not hold
        with api.fl.database.engine.begin() as owner:
            owner.execute(update(artifacts).where(artifacts.c.size == 10).values(name=name))
        answer = api.as_("member").get(f"{path}/{quote(name, safe='').replace('.', '%2e')}")
        if "\n" in name:  # no address leads there
            assert answer.status_code == 404
            continue
        assert answer.content == b"0123456789"
        assert_harmless(answer)


def test_a_path_leads_to_no_file_that_the_job_has_not_named(api: Api, path: str):
    client = api.as_("member")
    names = ["..%2f..%2fetc%2fpasswd%00", "%2fetc%2fpasswd", "..%2fdigits", "%2e", "%2e%2e", "digits%2f", "digits%00"]
    for name in [*names, "digits%0d%0ax-injected:%201", "Digits", "nothing", "x" * 5_000, ""]:
        answer = client.get(f"{path}/{name}")
        # No address has a line break in it.
        kind = "not-found" if "%0a" in name else "artifact-not-found"
        assert (answer.status_code, answer.json()["type"]) == (404, f"urn:fairlane:problem:{kind}"), name
        assert "x-injected" not in answer.headers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "content", "shown"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=5-500", b"56789", "bytes 5-9/10"),
        ("bytes=-500", b"0123456789", None),
        ("bytes=0-", b"0123456789", None),
        ("bytes=4-2", b"0123456789", None),
        ("bytes=1-2,4-5", b"0123456789", None),
        ("lines=1-2", b"0123456789", None),
    ],
)
def test_a_range_is_that_part_of_the_file(api: Api, path: str, asked: str, content: bytes, shown: str | None):
    answer = api.as_("member").get(f"{path}/digits", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206 if shown else 200, content)
    assert answer.headers.get("content-range") == shown
    assert answer.headers["content-length"] == str(len(content))


def test_a_range_behind_the_end_is_refused(api: Api, path: str):
    client = api.as_("member")
    for name, asked, size in (("digits", "bytes=10-", 10), ("empty", "bytes=0-0", 0), ("digits", "bytes=-0", 10)):
        answer = client.get(f"{path}/{name}", headers={"Range": asked})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    assert client.get(f"{path}/empty").content == b""


def test_a_download_goes_on_only_with_the_same_file(api: Api, path: str):
    client = api.as_("member")
    tag = client.get(f"{path}/digits").headers["etag"]
    part = {"Range": "bytes=8-"}
    assert client.get(f"{path}/digits", headers={**part, "If-Range": tag}).content == b"89"
    assert client.get(f"{path}/digits", headers={**part, "If-Range": '"other"'}).status_code == 200
    assert client.get(f"{path}/digits", headers={"If-None-Match": tag}).status_code == 304


def test_a_large_file_comes_in_pieces_of_which_the_first_is_there_before_the_last_is_read(
    api: Api, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Out of a folder: from memory a file comes whole.
    folder, content = ObjectStorage(tmp_path.as_uri()), bytes(range(256)) * 20_000
    folder.put(api.fl.find_artifact(path.split("/")[4], "large", organization="acme").path, content)
    may_go_on, read = threading.Event(), list[int]()

    def piece_by_piece(where: str, start: int, stop: int) -> Iterator[bytes]:
        for piece in folder.stream(where, start, stop):
            read.append(len(piece))
            yield piece
            assert stop <= LONGEST_HEAD or may_go_on.wait(PATIENCE), "nobody got the first piece"

    monkeypatch.setattr(api.fl.artifacts, "stream", piece_by_piece)
    with api.as_("member").stream("GET", f"{path}/large") as answer:
        pieces = answer.iter_bytes()
        first = next(pieces)
        assert sum(read) < len(content) / 2
        may_go_on.set()
        is_whole = first + b"".join(pieces) == content
    assert is_whole


def test_a_file_that_is_gone_from_the_storage_is_not_found(api: Api, path: str):
    job = path.split("/")[4]
    found = api.fl.find_artifact(job, "digits", organization="acme")
    api.fl.artifacts.delete(found.path)
    assert api.as_("member").get(f"{path}/digits").status_code == 404


def test_names_and_types_are_made_harmless():
    assert disposition("../a\r\nb.txt") == "attachment; filename=\"ab.txt\"; filename*=UTF-8''ab.txt"
    assert disposition("") == disposition("/..") == "attachment; filename=\"artifact\"; filename*=UTF-8''artifact"
    assert media_type("text/plain; charset=x") == "text/plain"
    for kind in ("text/html", "application/xhtml+xml", "image/svg+xml", "text/javascript", "x", "a/b\r\nc: d", "a/b/c"):
        assert media_type(kind) == "application/octet-stream"
    assert part_of("bytes=" + "9" * 19 + "-", 10) == (0, 10)
