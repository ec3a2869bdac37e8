"""Every query of the dashboards, asked of a real Prometheus and a real PostgreSQL.

Needs `prometheus` on the path, and no cluster.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from canari.store.engine import connect
from tests.conftest import ROOT, Database

DASHBOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that reads itself."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "prometheus.yml"
    config.write_text(
        f"scrape_configs: [{{job_name: self, scrape_interval: 1s, static_configs: [{{targets: ['{address}']}}]}}]"
    )
    options = (f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}")
    with (folder / "log").open("w") as log, httpx.Client(base_url=f"http://{address}") as client:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log)
        try:
            wait(client, folder / "log")
            yield client
        finally:
            process.terminate()
            process.wait(20)


def wait(client: httpx.Client, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def queries(source: str) -> list[Any]:
    """The panel's name and the text of each query to a kind of data source, as Grafana would send it."""
    found = []
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                if target["datasource"]["type"] == source:
                    query = sent(target.get("expr") or target["rawSql"])
                    found.append(pytest.param(query, id=f"{file.stem}: {panel['title']} {target['refId']}"))
    return found


def sent(query: str) -> str:
    """A query with Grafana's variables and macros filled in."""
    query = query.replace("$__rate_interval", "1m").replace("${model:sqlstring}", "'cats_dogs','drift'")
    query = re.sub(r"\$__timeFilter\(([\w.]+)\)", r"\1 BETWEEN now() - interval '6 hours' AND now()", query)
    query = query.replace("$model", "cats_dogs|drift")
    assert "$" not in query, query
    return query


@pytest.mark.parametrize("query", queries("prometheus"))
def test_prometheus_understands_the_query(prometheus: httpx.Client, query: str) -> None:
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer


@pytest.mark.parametrize("query", queries("grafana-postgresql-datasource"))
def test_the_reading_role_may_ask_the_query(swept_database: Database, query: str) -> None:
    engine = connect(swept_database.read_url, pool=1)
    with engine.connect() as connection:
        assert list(connection.execute(text(query.replace(":", "\\:")))) == []
    engine.dispose()


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_leaves_the_choice_of_data_sources_to_its_reader(file: Path, prometheus: httpx.Client) -> None:
    dashboard = json.loads(file.read_text())
    assert "__inputs" not in dashboard
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    chosen = {f"${{{name}}}": v["query"] for name, v in variables.items() if v["type"] == "datasource"}
    for panel in dashboard["panels"]:
        for part in (panel, *panel["targets"]):
            assert chosen[part["datasource"]["uid"]] == part["datasource"]["type"], panel["title"]
        assert panel["description"]
    values = re.fullmatch(r"label_values\((.+), (\w+)\)", variables["model"]["query"]["query"])
    assert values
    answer = prometheus.get(f"/api/v1/label/{values[2]}/values", params={"match[]": values[1]}).json()
    assert answer["status"] == "success"
