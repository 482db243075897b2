"""The alert rules and the dashboard that are shipped ask for metrics that are there, and the page tells of all of them.

Names and labels come from what the server and a worker export after jobs of all sorts have run.
"""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fairlane.cli import worker_metrics
from fairlane.cli.worker_metrics import WorkerMetrics
from fairlane.domain.events import BreakerOpened, HandlerAbandoned, StorageLost
from fairlane.domain.statuses import LIVE, JobStatus
from fairlane.engine.worker import Unready
from tests.api.served import Api
from tests.scraping import HOST, free_ports

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "fairlane.rules.yml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "fairlane.json"
PAGE: Final = ROOT / "docs" / "how-to" / "prometheus.md"
OF_TARGETS: Final = frozenset({"instance", "job"})  # labels that Prometheus adds
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
Labels = dict[str, frozenset[str]]  # of each series' name


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def queries() -> dict[str, str]:
    """Return each query by the name of its alert, or of its panel."""
    of_alerts = {one["alert"]: one["expr"] for one in rules()}
    return of_alerts | {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel.get("targets", ())
    }


def labels_in(text: str) -> Labels:
    """The labels of each series; a metric without series has its name and no labels."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] |= sample.labels.keys()
    for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE):
        found.setdefault(name, set())
    return {name: frozenset(labels) for name, labels in found.items()}


def of_server(api: Api) -> Labels:
    """Return what the server exports while jobs of all sorts are there."""
    for _ in range(10):  # a breaker opens
        api.fl.submit("failing", organization="acme")
    api.fl.submit("report", organization="acme")
    api.run()
    api.fl.submit("report", organization="acme")
    return labels_in(api.operator().get("/operator/metrics/prometheus").text)


def of_worker(api: Api) -> Labels:
    """Return what a worker exports once it has met all that it counts."""
    metrics, port = WorkerMetrics(1), free_ports()
    worker = api.fl.worker(subscribers=[metrics])
    server = metrics.serve(worker, HOST, port)
    try:
        api.fl.submit("report", organization="acme")
        worker.drain()
        # The events of a hung handler, an outage and many failures, as the worker would emit them.
        metrics(HandlerAbandoned("acme", uuid4(), "report"))
        metrics(StorageLost("claim", "it is away", 1.0))
        metrics(BreakerOpened("acme", "report", datetime.now(UTC), 10, 10))
        return labels_in(httpx.get(f"http://{HOST}:{port}/metrics").text)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def exported(api: Api) -> tuple[Labels, Labels]:
    """The labels of all series of the server, and those of a worker."""
    return of_server(api), of_worker(api)


def parts_of(query: str) -> list[promql.Expr]:
    """Return all parts of a query, which is parsed as Prometheus does it."""
    found: list[promql.Expr] = []
    promql.walk(promql.parse(query), found.append)
    return found


def selectors_in(part: promql.Expr) -> Iterator[promql.VectorSelector]:
    for one in parts_of(str(part)):
        if isinstance(one, promql.MatrixSelector):
            yield one.vector_selector
        elif isinstance(one, promql.VectorSelector):
            yield one


def test_each_query_asks_for_metrics_and_labels_that_are_exported(exported: tuple[Labels, Labels]):
    known = exported[0] | exported[1]
    wrong = []
    for place, query in queries().items():
        asked = set[str]()
        for part in parts_of(query):
            selected = list(selectors_in(part))
            names = {one.name or "" for one in selected}
            asked |= names
            has = frozenset[str]().union(*(known.get(name, ()) for name in names)) | OF_TARGETS
            wanted = {matcher.name for one in selected for matcher in one.matchers.matchers}
            if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
                wanted |= {*part.modifier.labels}
            wrong += [f"{place}: {names} have no label {label}" for label in sorted(wanted - has)]
        assert asked, place
        wrong += [f"{place}: nothing exports {name}" for name in sorted(asked - known.keys())]
    assert wrong == []


def test_each_value_that_a_query_looks_for_may_be_there():
    values = {
        "outcome": {*JobStatus} - {*LIVE} | {*worker_metrics.OTHER_OUTCOMES},
        "reason": {*Unready},
    }
    looked_for = {
        (matcher.name, value)
        for query in queries().values()
        for one in selectors_in(promql.parse(query))
        for matcher in one.matchers.matchers
        for value in matcher.value.split("|")
    }
    assert {name for name, _ in looked_for} == values.keys()
    assert [(name, value) for name, value in sorted(looked_for) if value not in values[name]] == []


def test_each_alert_says_when_it_fires_how_bad_it_is_and_what_to_do():
    names = [one["alert"] for one in rules()]
    assert len({*names}) == len(names)
    for one in rules():
        assert one.keys() <= {"alert", "expr", "for", "labels", "annotations"}, one["alert"]
        assert one["labels"]["severity"] in {"warning", "critical"}
        assert one["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+[mh]", one.get("for", "0m"))


@pytest.mark.slow
def test_promtool_takes_the_rules():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install promtool)")
    checked = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_has_a_source_of_data_to_choose_and_panels_that_do_not_overlap():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert (dashboard["uid"], dashboard["title"]) == ("fairlane", "Fairlane")
    assert dashboard["schemaVersion"] >= 39
    assert [one["type"] for one in dashboard["templating"]["list"]] == ["datasource"]
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken = set[tuple[int, int]]()
    for panel in panels():
        at = panel["gridPos"]
        place = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert taken.isdisjoint(place), panel["title"]
        taken |= place
        if panel["type"] == "row":
            continue
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["description"]
        assert [panel["datasource"], *(one["datasource"] for one in panel["targets"])] == [DATASOURCE] * (
            len(panel["targets"]) + 1
        )


def told(section: str) -> dict[str, str]:
    """The first two columns of a section's table, of those rows whose first is code."""
    page = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", page, re.MULTILINE))


def test_the_page_has_each_metric_with_its_labels(exported: tuple[Labels, Labels]):
    for section, found in zip(("Scrape the server", "Scrape the workers"), exported, strict=True):
        ours = {name: labels for name, labels in found.items() if name.startswith("fairlane_")}
        # A histogram's series have three names, and a label for the bucket.
        merged: defaultdict[str, set[str]] = defaultdict(set)
        for name, labels in ours.items():
            merged[re.sub("_(bucket|count|sum)$", "", name)] |= labels - {"le"}
        assert {name: sorted(labels) for name, labels in merged.items()} == {
            name: sorted(filter(None, labels.split(", "))) for name, labels in told(section).items()
        }


def test_the_page_has_each_alert_with_its_severity():
    assert told("Alerts") == {one["alert"]: one["labels"]["severity"] for one in rules()}
