"""Credentials that prove who sends a request, and others that do not (R19)."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from tests.api.served import OPERATOR, PASSWORD, Api

ME = "/sessions/current"


def check_refused(answer: httpx.Response, status: int = 401) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer fl_",
        "Bearer fl_wrong",
        "Basic b2xnYTpwYXNz",
        "Bearer a.b.c",
        "fl_wrong",
        "Bearer \xff",
    ],
)
def test_a_wrong_credential_opens_nothing(api: Api, header: str):
    answer = api.client().get(ME, headers={b"Authorization": header.encode("latin-1")})
    check_refused(answer)
    assert answer.headers["www-authenticate"] == 'Bearer realm="fairlane", error="invalid_token"'


def test_without_a_credential_nothing_is_open_but_what_a_login_needs(api: Api):
    anonymous = api.client()
    assert anonymous.get("/health").json() == {"status": "ok"}
    assert anonymous.get("/openapi.json").json()["openapi"].startswith("3.1")
    for path in (ME, "/organizations/acme/jobs", "/nothing", "/health/", "/openapi.json/x", "/../v1/nothing"):
        answer = anonymous.get(path)
        check_refused(answer)
        assert answer.headers["www-authenticate"] == 'Bearer realm="fairlane"'


@pytest.mark.slow
def test_the_document_is_written_once_and_answers_clients_that_have_it_with_304(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    anonymous = api.client()
    first = anonymous.get("/openapi.json")
    assert first.headers["cache-control"] == "no-cache"

    def not_again(*_: object, **__: object) -> str:
        raise AssertionError("it was written before")

    monkeypatch.setattr("json.dumps", not_again)
    assert anonymous.get("/openapi.json").content == first.content
    for tag in (first.headers["etag"], first.headers["etag"].removeprefix("W/"), '"x", ' + first.headers["etag"], "*"):
        known = anonymous.get("/openapi.json", headers={"If-None-Match": tag})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert anonymous.get("/openapi.json", headers={"If-None-Match": 'W/"x"'}).status_code == 200


@pytest.mark.slow
def test_a_client_that_asks_for_the_document_again_and_again_is_told_to_wait_and_nobody_else(serve: Callable[..., Api]):
    api = serve({"rate_unproved": 3})
    anonymous = api.client()
    asked = [anonymous.get("/openapi.json") for _ in range(4)]
    assert [one.status_code for one in asked] == [200, 200, 200, 429]
    assert "retry-after" in asked[-1].headers
    assert anonymous.get("/health").status_code == 200
    assert api.as_("member").get(ME).status_code == 200


def test_a_token_proves_its_user_within_its_organization(api: Api):
    me = api.as_("member", scopes=["jobs:read"]).get(ME).json()
    assert (me["user"], me["organization"], me["is_operator"]) == ("member", "acme", False)
    assert me["scopes"] == ["jobs:read"]
    assert me["via"].startswith("token ")
    assert api.operator().get(ME).json()["is_operator"] is True


def test_an_expired_token_opens_nothing(api: Api):
    client = api.as_("member", expires_in=timedelta(microseconds=1))
    check_refused(client.get(ME))


def test_a_revoked_token_opens_nothing_from_the_next_request_on(api: Api):
    made, secret = api.fl.tokens.create(organization="acme", as_user="member", name="test")
    client = api.client(secret)
    assert client.get(ME).status_code == 200
    api.fl.tokens.revoke(UUID(str(made.id)), organization="acme")
    check_refused(client.get(ME))


def test_a_disabled_user_is_out_at_once_with_every_credential(api: Api):
    api.fl.users.create("member", password=PASSWORD)
    with_token, with_session = api.as_("member"), api.client()
    assert with_session.post("/sessions", json={"user": "member", "password": PASSWORD}).status_code == 201
    assert with_session.get(ME).status_code == with_token.get(ME).status_code == 200
    api.fl.users.update("member", disabled=True)
    check_refused(with_token.get(ME))
    check_refused(with_session.get(ME))


def test_a_login_sets_a_cookie_that_pages_cannot_read(api: Api):
    api.with_password()
    client = api.client()
    answer = client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    assert answer.status_code == 201
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"))
    assert "Secure" not in cookie  # over plain HTTP a browser would drop it
    assert client.get(ME).json()["via"] == "session"


def test_a_login_over_https_sets_a_cookie_for_https_only(api: Api):
    api.with_password()
    # A proxy in front, as uvicorn trusts one on this machine.
    headers = {"X-Forwarded-Proto": "https"}
    answer = api.client().post("/sessions", json={"user": OPERATOR, "password": PASSWORD}, headers=headers)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(("user", "password"), [(OPERATOR, "wrong"), ("nobody", PASSWORD), ("\x00", "\x00")])
def test_a_wrong_login_says_not_what_was_wrong(api: Api, user: str, password: str):
    answer = api.client().post("/sessions", json={"user": user, "password": password})
    check_refused(answer)
    assert answer.json()["detail"] == "User and password do not belong together."
    assert "set-cookie" not in answer.headers


def test_a_quoted_cookie_is_no_session_and_nothing_unquotes_it(api: Api, monkeypatch: pytest.MonkeyPatch):
    unquoted = list[str]()

    def counted(text: str) -> str:
        unquoted.append(text)
        return text

    monkeypatch.setattr("http.cookies._unquote", counted)
    session = api.fl.users.redeem(api.fl.users.link(OPERATOR))
    long, quoted = '"' + r"\a" * 30_000 + '"', f'fairlane_session="{session}"'
    cookies = (f"fairlane_session={long}", f"other={long}; fairlane_session={session}", quoted)
    asked = [
        client.get(path, headers={"Cookie": cookie}).status_code
        for client in (api.client(), api.as_("member"))
        for path in (ME, "/health", "/login?link=x")
        for cookie in cookies
    ]
    asked += [api.client().delete(ME, headers={"Cookie": cookie}).status_code for cookie in cookies[:1]]
    assert asked == [*(401, 200, 401), *3 * (200,), *3 * (401,), *3 * (200,), *3 * (200,), *3 * (401,), 401]
    assert set(unquoted) == {session}  # by FastAPI, which gets no other


def test_a_logout_ends_the_session(api: Api):
    api.with_password()
    client = api.client()
    client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    stolen = client.cookies["fairlane_session"]
    same_site = {"Sec-Fetch-Site": "same-origin"}
    assert client.delete(ME, headers=same_site).status_code == 204
    assert "fairlane_session" not in client.cookies
    check_refused(api.client(cookies={"fairlane_session": stolen}).get(ME))


def test_a_link_logs_in_once(api: Api):
    secret = api.fl.users.link(OPERATOR)
    client = api.client()
    assert client.get("/login", params={"link": secret}).json()["user"] == OPERATOR
    assert client.get(ME).json()["is_operator"] is True
    check_refused(api.client().get("/login", params={"link": secret}))
    check_refused(api.client().post("/sessions/redemption", json={"secret": secret}))


def test_a_link_is_no_session_and_a_session_no_link(api: Api):
    api.with_password()
    link = api.fl.users.link(OPERATOR)
    check_refused(api.client(cookies={"fairlane_session": link}).get(ME))
    session = api.fl.users.log_in(OPERATOR, PASSWORD)
    check_refused(api.client().post("/sessions/redemption", json={"secret": session}))
    check_refused(api.client(session).get(ME))


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[bad"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_page_of_another_site_cannot_act_with_a_session(api: Api, headers: dict[str, str]):
    api.with_password()
    client = api.client()
    client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    check_refused(client.delete(ME, headers=headers), 403)
    assert client.get(ME).status_code == 200


def test_a_page_of_this_site_acts_with_a_session(api: Api):
    api.with_password()
    client = api.client()
    client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    assert client.delete(ME, headers={"Origin": api.url}).status_code == 204


def test_a_page_of_another_site_cannot_log_its_reader_in_as_somebody_else(api: Api):
    api.with_password()
    headers = {"Origin": "https://evil.example"}
    login = api.client().post("/sessions", json={"user": OPERATOR, "password": PASSWORD}, headers=headers)
    check_refused(login, 403)
    form = api.client().post("/sessions", content="user=olga", headers={"Content-Type": "text/plain"})
    check_refused(form, 415)


def test_a_bad_token_is_not_helped_out_by_a_good_session(api: Api):
    api.with_password()
    client = api.client()
    client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    check_refused(client.get(ME, headers={"Authorization": "Bearer fl_wrong"}))


def test_without_listed_origins_no_page_of_another_site_reads_anything(api: Api):
    preflight = api.client().options(
        ME, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    )
    answer = api.as_("member").get(ME, headers={"Origin": "https://a.example"})
    for one in (preflight, answer):
        assert not [name for name in one.headers if name.startswith("access-control-")]


def test_listed_origins_may_call_and_others_may_not(serve):
    api = serve({"web_origins": "https://a.example, https://b.example"})
    client = api.as_("member")
    assert client.get(ME, headers={"Origin": "https://b.example"}).headers["access-control-allow-origin"] == (
        "https://b.example"
    )
    assert "access-control-allow-origin" not in client.get(ME, headers={"Origin": "https://c.example"}).headers
    # Also an answer that refuses can be read by the page.
    refused = api.client().get(ME, headers={"Origin": "https://a.example"})
    assert refused.headers["access-control-allow-origin"] == "https://a.example"


def test_a_page_of_a_listed_origin_may_ask_first_and_act_with_a_session_and_others_may_not(serve):
    api = serve({"web_origins": "https://a.example"}).with_password()
    client = api.client()
    client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "content-type"}
    for origin in ("https://c.example", "https://a.example.evil.example", "null"):
        refused = client.options(ME, headers={"Origin": origin, **asked})
        assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (400, False)
        check_refused(client.delete(ME, headers={"Origin": origin}), 403)
    allowed = client.options(ME, headers={"Origin": "https://a.example", **asked}).headers
    assert allowed["access-control-allow-origin"] == "https://a.example"
    assert allowed["access-control-allow-credentials"] == "true"
    assert "DELETE" in allowed["access-control-allow-methods"]
    acted = client.delete(ME, headers={"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"})
    assert (acted.status_code, acted.headers["access-control-allow-credentials"]) == (204, "true")
    check_refused(client.get(ME))


def test_logins_are_counted_for_each_user_and_address(serve):
    api = serve({"rate_login": 3})
    api.with_password()
    for _ in range(3):
        check_refused(api.client().post("/sessions", json={"user": OPERATOR, "password": "wrong"}))
    answer = api.client().post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    check_refused(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_every_answer_tells_browsers_to_show_run_and_keep_nothing(api: Api):
    for answer in (
        api.client().get(ME),
        api.client().get("/health"),
        api.as_("member").get("/nothing"),
        api.as_("member").post("/health"),
        api.as_("member").get(ME),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_a_user_who_changes_their_password_stays_logged_in_and_all_other_sessions_end(api: Api):
    api.fl.members.add("acme", OPERATOR, role="viewer")
    api.with_password()
    clients = [api.client() for _ in range(2)]
    for client in clients:
        client.headers["Origin"] = api.url
        client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    mine, other = clients
    new = "staple battery horse"
    changed = mine.put(f"{ME}/password", json={"current": PASSWORD, "new": new})
    assert (changed.status_code, changed.json()["user"]) == (200, OPERATOR)
    assert [one.get(ME).status_code for one in clients] == [200, 401]
    logins = [other.post("/sessions", json={"user": OPERATOR, "password": one}).status_code for one in (PASSWORD, new)]
    assert logins == [401, 201]
    told = api.fl.audit.list(organization="acme")[0]
    assert (told.action, told.actor, told.subject) == ("users.password", OPERATOR, OPERATOR)


def test_a_password_is_changed_by_a_user_who_knows_it_and_has_logged_in(api: Api):
    api.with_password()
    client = api.client()
    client.headers["Origin"] = api.url
    client.post("/sessions", json={"user": OPERATOR, "password": PASSWORD})
    change = {"current": "a wrong password", "new": "staple battery horse"}
    wrong = client.put(f"{ME}/password", json=change)
    assert (wrong.status_code, wrong.json()["type"]) == (403, "urn:fairlane:problem:wrong-password")
    check_refused(api.operator().put(f"{ME}/password", json={**change, "current": PASSWORD}), 403)
    assert client.put(f"{ME}/password", json={"current": PASSWORD, "new": "short"}).status_code == 422
    assert api.client().post("/sessions", json={"user": OPERATOR, "password": PASSWORD}).status_code == 201


def test_the_holder_of_a_session_guesses_its_password_no_more_often_than_at_a_login(serve):
    api = serve({"rate_login": 3}).with_password()
    client = api.client(cookies={"fairlane_session": api.fl.users.redeem(api.fl.users.link(OPERATOR))})
    change = {"current": "a wrong password", "new": "staple battery horse"}
    guesses = [client.put(f"{ME}/password", json=change, headers={"Origin": api.url}).status_code for _ in range(4)]
    assert guesses == [403, 403, 403, 429]
