import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from canari.launch.postgres import OWNER
from canari.registry import Registry
from canari.store import versions
from canari.store.engine import connect
from canari.store.migrate import ensure_database
from canari.types import VersionState
from services.jobs.making import Order
from tests.integration.jobs.conftest import Workshop
from tests.platform import until


@pytest.fixture
def lineage_url(postgres: Any) -> Iterator[str]:
    """An MLflow database of the test's own."""
    name = f"lineage_{uuid4().hex[:12]}"
    yield ensure_database(postgres.url(OWNER), name)
    admin = connect(postgres.url(OWNER), pool=1)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


def test_mlflow_tells_where_a_version_comes_from(workshop: Workshop, lineage_url: str) -> None:
    workshop.lineage_url = lineage_url
    outcome = workshop.train(Order(seed=5, generate=60))
    assert outcome.lineage
    client = Registry(lineage_url, workshop.layout.mlflow)._client()
    (registered,) = client.search_model_versions("name = 'line'")
    run = client.get_run(registered.run_id)
    assert run.data.tags["canari.version"] == "1"
    assert run.data.tags["canari.archive"] == outcome.archive
    assert run.data.tags["canari.spec"] == workshop.family.spec.hash
    assert run.data.tags["canari.synthetic"] == "true"
    assert run.data.tags["library.onnxruntime"]
    assert run.data.params["seed"] == "5"
    assert run.data.metrics["accuracy"] == pytest.approx(outcome.evaluation.accuracy, abs=1e-6)
    assert "recall.below" in run.data.metrics
    assert run.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(registered.run_id)}
    assert files == {"evaluation.png", "evaluation.json", "manifest.json", "model"}

    registry = Registry(lineage_url, workshop.layout.mlflow)
    assert registry.set_alias("line", 1, "champion")
    assert client.get_model_version_by_alias("line", "champion").run_id == registered.run_id
    assert not registry.set_alias("line", 2, "challenger")


def test_a_version_is_ready_though_mlflow_is_away(workshop: Workshop) -> None:
    outcome = workshop.train(Order(seed=5, generate=60))
    assert not outcome.lineage
    version = versions.version(workshop.engine, "line", 1)
    assert version.state is VersionState.READY
    assert version.metrics["training"]["seed"] == 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server with a database and a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    until(lambda: healthy(url), 120)
    yield url
    process.terminate()
    process.wait(30)


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def test_a_server_of_mlflow_keeps_the_lineage_and_its_files(workshop: Workshop, server: str) -> None:
    workshop.lineage_url = server
    assert workshop.train(Order(seed=5, generate=60)).lineage
    client = Registry(server, workshop.layout.mlflow)._client()
    (registered,) = client.search_model_versions("name = 'line'")
    files = {file.path for file in client.list_artifacts(registered.run_id)}
    assert files == {"evaluation.png", "evaluation.json", "manifest.json", "model"}
    assert not workshop.layout.mlflow.exists()


def test_a_server_of_mlflow_that_is_away_keeps_no_version_from_being_ready(workshop: Workshop) -> None:
    workshop.lineage_url = "http://127.0.0.1:1"
    assert not workshop.train(Order(seed=5, generate=60)).lineage
