"""The flaky service over real HTTP, and its client."""

from collections.abc import Iterator
from urllib.error import URLError

import pytest

from examples.reports.flaky import RATES, FlakyService, ServiceUnavailable, fetch_rates


@pytest.fixture
def service() -> Iterator[FlakyService]:
    with FlakyService() as running:
        yield running


def test_a_key_is_refused_twice_then_answered(service: FlakyService) -> None:
    url = service.url_for("acme")
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="503"):
            fetch_rates(url)
    assert fetch_rates(url) == RATES
    assert service.requests("acme") == 3


def test_keys_are_counted_apart(service: FlakyService) -> None:
    with pytest.raises(ServiceUnavailable):
        fetch_rates(service.url_for("a/b ü"))
    assert (service.requests("a/b ü"), service.requests("other")) == (1, 0)


def test_a_proxy_in_the_environment_is_not_asked(service: FlakyService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(ServiceUnavailable):
        fetch_rates(service.url_for("acme"))


def test_after_the_service_is_gone_the_client_says_so() -> None:
    with FlakyService() as service:
        url = service.url_for("acme")
    with pytest.raises(URLError):
        fetch_rates(url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", ""])
def test_only_http_is_fetched(url: str) -> None:
    with pytest.raises(ValueError, match="not an http address"):
        fetch_rates(url)
