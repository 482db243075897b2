"""Read the metrics and probes that a process serves, as Prometheus and Kubernetes do."""

import socket
from collections import defaultdict
from contextlib import ExitStack
from typing import Final, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

HOST: Final = "127.0.0.1"
# Series by the name of their metric, and by the values of their labels in the labels' order of names.
Series = dict[str, dict[tuple[str, ...], float]]


class Answer(NamedTuple):
    """The answer of a probe; of a process that does not listen status 0."""

    status: int
    sentence: str


def free_ports(number: int = 1) -> int:
    """Return the first of so many ports in a row at which nothing listens."""
    while True:
        with ExitStack() as held:
            first = held.enter_context(socket.create_server((HOST, 0))).getsockname()[1]
            try:
                for port in range(first + 1, first + number):
                    held.enter_context(socket.create_server((HOST, port)))
            except (OSError, OverflowError):
                continue
            return int(first)


def probe(port: int, name: str) -> Answer:
    """Return the answer of `/livez` or `/readyz`."""
    try:
        answer = httpx.get(f"http://{HOST}:{port}/{name}", timeout=10)
    except httpx.TransportError:
        return Answer(0, "")
    return Answer(answer.status_code, answer.text)


def scrape(port: int) -> Series:
    """Return all series of `/metrics`."""
    answer = httpx.get(f"http://{HOST}:{port}/metrics", timeout=10)
    assert answer.status_code == 200
    return series_of(answer.text)


def series_of(text: str) -> Series:
    """Return all series of a text in Prometheus' format; none is there twice."""
    found: Series = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found[sample.name], f"{sample.name}{labels} is there twice"
            found[sample.name][labels] = sample.value
    return found
