"""Downloads: streamed, in ranges, under safe names, and never as a page of this site."""

import pytest

from fairlane import Fairlane, JobContext
from fairlane.api.downloads import disposition, media_type, part_of
from tests.api.served import Api

HOSTILE = {
    'a"; filename="evil.exe': "text/plain",
    "page.html": "text/html",
    "drawing.svg": "image/svg+xml",
    "ünïcødé 文.txt": "text/plain; charset=utf-8",
    "%2e%2e%2f": "text/plain",
    ".hidden": "text/javascript",
}


@pytest.fixture
def path(api: Api) -> str:
    """Where the files of a job are."""
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


def test_files_are_handed_out_as_harmless_attachments_whatever_they_are_called(api: Api, path: str):
    client = api.as_("member")
    listed = {one["name"] for one in client.get(path).json()["artifacts"]}
    assert listed >= HOSTILE.keys()
    for name in HOSTILE:
        answer = client.get(f"{path}/{''.join(f'%{byte:02x}' for byte in name.encode())}")
        assert answer.content == name.encode()
        shown = answer.headers["content-disposition"]
        assert shown.startswith('attachment; filename="')
        assert not set(shown) & set("\r\n\\/")
        assert answer.headers["content-type"].partition(";")[0] in {"text/plain", "application/octet-stream"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "x-injected" not in answer.headers
        assert "set-cookie" not in answer.headers


def test_a_path_leads_to_no_file_that_the_job_has_not_named(api: Api, path: str):
    client = api.as_("member")
    for name in ("..%2f..%2fetc%2fpasswd%00", "%2fetc%2fpasswd", "digits%2f", "Digits", "nothing", "."):
        answer = client.get(f"{path}/{name}")
        assert answer.status_code in {404, 200}
        assert b"root:" not in answer.content
        if answer.status_code == 404:
            assert answer.json()["type"] in {
                "urn:fairlane:problem:artifact-not-found",
                "urn:fairlane:problem:not-found",
            }


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


def test_a_large_file_comes_in_pieces(api: Api, path: str):
    with api.as_("member").stream("GET", f"{path}/large") as answer:
        assert b"".join(answer.iter_bytes()) == bytes(range(256)) * 20_000


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
