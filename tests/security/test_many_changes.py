"""A credential that ends while a request goes from change to change: the rest is not done."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.served import PASSWORD, Api

ACME = "/organizations/acme"
LETTERS = f"{ACME}/dead-letters"
VERBS: dict[str, tuple[str, dict[str, str]]] = {
    "retry": ("retry", {}),
    "resolution": ("ignore", {"resolution": "ignored"}),
    "deletion": ("delete", {}),
}


def unresolved(api: Api) -> list[str]:
    """The ids of the dead letters that nobody has dealt with."""
    return [str(one.job_id) for one in api.fl.dead_letters.list(organization="acme").items]


def end_at_the_second(api: Api, monkeypatch: pytest.MonkeyPatch, verb: str, end: Callable[[], object]) -> None:
    """Let a credential end while the second of a request's changes is being made."""
    real, calls = getattr(api.fl.dead_letters, verb), list[Any]()

    def change(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            end()
        return real(*args, **more)

    monkeypatch.setattr(api.fl.dead_letters, verb, change)


@pytest.fixture
def letters(api: Api) -> list[str]:
    """Five dead letters."""
    for _ in range(5):
        api.fl.submit("failing", organization="acme", user="member")
    api.run()
    return unresolved(api)


@pytest.mark.slow
@pytest.mark.parametrize("path", VERBS)
def test_what_comes_after_the_end_of_a_token_is_not_done(
    api: Api, monkeypatch: pytest.MonkeyPatch, letters: list[str], path: str
):
    admin, (verb, more) = api.as_("admin"), VERBS[path]
    (token,) = api.fl.tokens.list(organization="acme")
    end_at_the_second(api, monkeypatch, verb, lambda: api.fl.tokens.revoke(token.id, organization="acme"))
    assert admin.post(f"{LETTERS}/{path}", json={"ids": letters, **more}).status_code == 401
    assert sorted(unresolved(api)) == sorted(letters[2:])


def test_what_comes_after_the_end_of_a_session_is_not_done(
    api: Api, monkeypatch: pytest.MonkeyPatch, letters: list[str]
):
    api.fl.users.create("admin")
    client = api.with_password("admin").client()
    client.headers["Origin"] = api.url
    assert client.post("/sessions", json={"user": "admin", "password": PASSWORD}).status_code == 201
    end_at_the_second(api, monkeypatch, "delete", lambda: api.fl.users.update("admin", disabled=True))
    assert client.post(f"{LETTERS}/deletion", json={"ids": letters}).status_code == 401
    assert sorted(unresolved(api)) == sorted(letters[2:])
