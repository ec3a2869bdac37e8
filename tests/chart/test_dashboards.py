"""Every query of the dashboards, asked of a real Prometheus and a real PostgreSQL that have something to answer.

Needs `prometheus` on the path, and no cluster.
"""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import Engine, text

from canari.launch.postgres import EmbeddedPostgres
from canari.store.engine import connect
from monitoring.dashboards import FOLDER, rendered
from tests.chart.figures import Exporter, fill
from tests.conftest import GivenPostgres, fresh_database

DASHBOARDS = sorted(FOLDER.glob("*.json"))
POSTGRES = "grafana-postgresql-datasource"
_ALERT = {"alert": "CanariTest", "expr": "vector(1)", "labels": {"severity": "warning", "model": "drift"}}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that reads a platform in use, with an alert that fires."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    exporter = Exporter()
    Thread(target=exporter.serve_forever, args=(0.05,), daemon=True).start()
    target = {"targets": [exporter.address], "labels": {"pod": "feedback-1", "namespace": "ns"}}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:1"]}]}]},
        "scrape_configs": [{"job_name": "canari-feedback", "static_configs": [target]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": [_ALERT]}]}))
    files = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    with (folder / "log").open("w") as log, httpx.Client(base_url=f"http://{address}") as client:
        process = subprocess.Popen(["prometheus", *files, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            wait(client, folder / "log")
            yield client
        finally:
            process.terminate()
            process.wait(20)
            exporter.shutdown()


def wait(client: httpx.Client, log: Path) -> None:
    """Until there are enough samples for a rate."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = client.get("/api/v1/query", params={"query": "count_over_time(canari_requests_total[1m]) > 3"})
            if answer.is_success and answer.json()["data"]["result"]:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def reader(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[tuple[Engine, int]]:
    """The reading role on a platform's database, and its open rollout."""
    with fresh_database(postgres) as database:
        rollout = fill(database.engine)
        engine = connect(database.read_url, pool=1)
        yield engine, rollout
        engine.dispose()


def dashboard(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def panels(file: Path) -> list[dict[str, Any]]:
    """Those that show something, which headings do not."""
    return [panel for panel in dashboard(file)["panels"] if panel["type"] != "row"]


def queries(source: str) -> list[Any]:
    """The text of each query of panels and variables to a kind of data source."""
    found = []
    for file in DASHBOARDS:
        for panel in panels(file):
            for target in panel["targets"]:
                if target["datasource"]["type"] == source:
                    name = f"{file.stem}: {panel['title']} {target['refId']}"
                    found.append(pytest.param(target.get("expr") or target["rawSql"], id=name))
        if source == POSTGRES:
            variables = [one for one in asking(file) if one["datasource"]["type"] == source]
            found += [pytest.param(one["query"], id=f"{file.stem}: ${one['name']}") for one in variables]
    return found


def asking(file: Path) -> list[dict[str, Any]]:
    return [variable for variable in dashboard(file)["templating"]["list"] if variable["type"] == "query"]


def sent(query: str, rollout: int = 0, *, hours: int = 6) -> str:
    """A query as Grafana sends it for the last hours: variables and macros filled in."""
    until = datetime.now(UTC) + timedelta(seconds=1)
    since = until - timedelta(hours=hours)
    moments = [f"'{moment:%Y-%m-%dT%H:%M:%SZ}'" for moment in (since, until)]
    query = query.replace("$__rate_interval", "10s").replace("$__interval_ms", "30000")
    query = query.replace("$__unixEpochFrom()", f"{since.timestamp():.0f}")
    query = query.replace("$__unixEpochTo()", f"{until.timestamp():.0f}")
    query = query.replace("$__timeFrom()", moments[0]).replace("$__timeTo()", moments[1])
    query = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN {moments[0]} AND {moments[1]}", query)
    query = query.replace("IN (${model:sqlstring})", "IN ('drift','cats_dogs')").replace(
        "${model:sqlstring}", "'drift'"
    )
    query = query.replace("${rollout:sqlstring}", f"'{rollout}'")
    query = query.replace('=~"$model"', '=~"(drift|cats_dogs)"').replace("$model", "drift")
    assert "$" not in query, query
    return query


@pytest.mark.parametrize("query", queries("prometheus"))
def test_prometheus_has_an_answer_to_the_query(prometheus: httpx.Client, query: str) -> None:
    answer = prometheus.get("/api/v1/query", params={"query": sent(query)}).json()
    assert answer["status"] == "success", answer
    values = [float(one["value"][1]) for one in answer["data"]["result"]]
    assert values, sent(query)
    assert all(map(math.isfinite, values)), answer


@pytest.mark.parametrize("query", queries(POSTGRES))
def test_the_reading_role_gets_rows_for_the_query(reader: tuple[Engine, int], query: str) -> None:
    engine, rollout = reader
    with engine.connect() as connection:
        found = connection.execute(text(sent(query, rollout).replace(":", "\\:"))).mappings().all()
    assert found
    for name in {"time", "metric", "value"} & set(found[0]):
        assert all(row[name] is not None for row in found), found
    if "time" in found[0]:
        assert [row["time"] for row in found] == sorted(row["time"] for row in found), "Grafana wants series in order"


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_variables_find_what_there_is_to_choose(file: Path, prometheus: httpx.Client) -> None:
    for variable in asking(file):
        if variable["datasource"]["type"] == "prometheus":
            values = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert values
            answer = prometheus.get(f"/api/v1/label/{values[2]}/values", params={"match[]": values[1]}).json()
            assert answer["data"] == ["cats_dogs", "drift"]


def test_prometheus_counts_alerts_that_alertmanager_does_not_take(prometheus: httpx.Client) -> None:
    counted = re.compile(
        r'^prometheus_notifications_errors_total\{alertmanager="http://127.0.0.1:1/.+"\} [1-9]', re.MULTILINE
    )
    deadline = time.monotonic() + 30
    while not counted.search(prometheus.get("/metrics").text):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_files_are_what_the_code_makes() -> None:
    assert {path: path.read_text() for path in DASHBOARDS} == rendered(), "run `make dashboards`"


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_fill_the_grid_and_none_lies_over_another(file: Path) -> None:
    places = [panel["gridPos"] for panel in dashboard(file)["panels"]]
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    # No hole is left: their areas add up to the whole.
    assert sum(place["w"] * place["h"] for place in places) == 24 * max(place["y"] + place["h"] for place in places)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_leaves_the_choice_of_data_sources_to_its_reader_and_says_what_it_shows(file: Path) -> None:
    made = dashboard(file)
    assert "__inputs" not in made
    assert made["uid"] == f"canari-{file.stem}"
    variables = {variable["name"]: variable for variable in made["templating"]["list"]}
    chosen = {f"${{{name}}}": v["query"] for name, v in variables.items() if v["type"] == "datasource"}
    for panel in panels(file):
        for part in (panel, *panel["targets"]):
            assert chosen[part["datasource"]["uid"]] == part["datasource"]["type"], panel["title"]
        # What a column of the grid shows of a title on a small screen.
        assert 0 < len(panel["title"]) <= 6 * panel["gridPos"]["w"], panel["title"]
        assert panel["description"].endswith(".")
    identifiers = [panel["id"] for panel in made["panels"]]
    assert identifiers == list(range(1, len(identifiers) + 1))
