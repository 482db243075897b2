"""The dashboard's files are served without login, below any path, cached, under a strict content security policy."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from fairlane.api import create_app, dashboard
from tests.api.served import OPERATOR, Api, Server

PAGE = '<!doctype html><html><head><base href="/" /><script src="./assets/main-1a2b.js"></script></head></html>'
SCRIPT = "console.log('fairlane');" * 20


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a page and a script."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "assets" / "main-1a2b.js").write_text(SCRIPT)
    (tmp_path.parent / "secret.txt").write_text("secret")
    monkeypatch.setattr(dashboard, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def site(api: Api, built: Path) -> Iterator[httpx.Client]:
    """Yield a client without any credential."""
    server = Server(create_app(api.fl, api.settings, dashboard=True))
    with httpx.Client(base_url=server.url) as client:
        yield client
    server.stop()


@pytest.mark.parametrize("path", ["/", "/index.html", "/login", "/o/acme%20%26%20co/jobs/42", "/apis", "/.."])
def test_every_path_outside_of_the_api_is_the_page(site: httpx.Client, path: str):
    answer = site.get(path)
    assert answer.status_code == 200
    assert answer.text == PAGE
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert site.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_a_file_that_is_named_by_its_content_is_kept_for_ever_and_comes_packed(site: httpx.Client):
    with site.stream("GET", "/assets/main-1a2b.js", headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert gzip.decompress(packed).decode() == SCRIPT
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/javascript")
    plain = site.get("/assets/main-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert plain.text == SCRIPT
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "path",
    [
        "/assets/gone-9f.js",
        "/assets/../../secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
    ],
)
def test_no_other_file_is_served(site: httpx.Client, path: str):
    answer = site.get(path)
    assert "secret" not in answer.text.replace("secret.txt", "")
    assert answer.status_code == 404 or answer.text == PAGE


def test_the_api_stays_closed(site: httpx.Client):
    assert site.get("/api/v1/organizations/acme/jobs").status_code == 401
    assert site.get("/api/v1/nothing").status_code == 401
    assert site.get("/api").status_code == 401
    assert site.post("/o/acme").status_code == 401
    assert site.get("/api/v1/health").json() == {"status": "ok"}


def test_below_a_prefix_the_page_knows_where_it_is(api: Api, built: Path):
    server = Server(Starlette(routes=[Mount("/tools/jobs", create_app(api.fl, api.settings, dashboard=True))]))
    try:
        for path in ("/tools/jobs/", "/tools/jobs/o/acme/jobs"):
            assert '<base href="/tools/jobs/" />' in httpx.get(f"{server.url}{path}").text
        assert httpx.get(f"{server.url}/tools/jobs/assets/main-1a2b.js").text == SCRIPT
        assert httpx.get(f"{server.url}/tools/jobs/api/v1/health").json() == {"status": "ok"}
    finally:
        server.stop()


def test_where_it_is_not_built_it_says_how(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dashboard, "FOLDER", tmp_path / "none")
    server = Server(create_app(api.fl, api.settings, dashboard=True))
    try:
        answer = httpx.get(f"{server.url}/o/acme")
        assert answer.status_code == 404
        assert "make dashboard" in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
    finally:
        server.stop()


def test_without_it_the_api_is_all_there_is(api: Api, built: Path):
    assert httpx.get(f"{api.url}/").status_code == 401


def test_a_link_leads_a_browser_to_the_dashboard_and_a_program_to_an_answer(api: Api, site: httpx.Client):
    def link() -> str:
        return f"/api/v1/login?link={api.fl.users.link(OPERATOR)}"

    used = link()
    page = {"Accept": "text/html,application/xhtml+xml"}
    answer = site.get(used, headers=page)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    again = httpx.get(f"{site.base_url}{used}", headers=page)
    assert (again.status_code, again.headers["location"]) == (303, "/login?link=used")
    assert "set-cookie" not in again.headers
    assert site.get(link()).json()["user"] == OPERATOR


def test_one_sees_where_one_belongs_and_what_one_may_there(serve: Callable[..., Api]):
    api = serve()
    api.fl.members.add("other", "member", role="viewer")
    gone = api.fl.organizations.create("gone").id
    api.fl.members.add(gone, "member")
    api.fl.organizations.delete(gone)
    cookie = {"fairlane_session": _session(api, "member")}
    mine = api.client(cookies=cookie).get("/organizations").json()
    assert [(one["id"], one["role"]) for one in mine["items"]] == [("acme", "member"), ("other", "viewer")]
    assert mine["is_complete"] is True
    # A token opens one organization, and tells of no other.
    assert [one["id"] for one in api.as_("member").get("/organizations").json()["items"]] == ["acme"]
    assert api.operator().get("/organizations").json()["items"] == []

    assert api.as_("viewer").get("/organizations/acme/access").json() == {
        "rights": ["jobs:read", "members:read", "metrics:read", "tokens:change"],
        "is_full": False,
        "is_operator": False,
    }
    operator = api.operator().get("/organizations/acme/access").json()
    assert operator["is_operator"]
    assert "payload:read" not in operator["rights"]


def _session(api: Api, user: str) -> str:
    api.fl.users.create(user)
    return api.fl.users.redeem(api.fl.users.link(user))
