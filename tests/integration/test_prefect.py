"""The jobs as Prefect flows, beside a real Prefect server; each in an environment of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from canari.settings import Settings
from canari.spec_file import load_spec
from canari.store import jobs, rollouts, versions
from canari.types import JobKind, JobState
from tests.conftest import ROOT, Database
from tests.platform import until

PREFECT = "prefect==3.8.8"
# Its server does not start with newer ones, though it asks for no older.
FASTAPI = "fastapi<0.151"
_UV = str(Path(sys.prefix) / "bin" / "uv")
SECONDS = 120


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    """A process for a while; it ends well."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CANARI_", "PREFECT_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=clean | environment, stdout=output, stderr=output)
    try:
        yield
        assert process.poll() is None, log.read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    """A Prefect server's API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = ["run", "--isolated", "--no-project", "--python", sys.executable, "--with", PREFECT, "--with", FASTAPI]
    command = [_UV, *alone, "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path / "server.log"
    quiet = {"PREFECT_HOME": str(tmp_path / "server"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (
        running(command, log, **quiet),
        httpx.Client(base_url=f"http://127.0.0.1:{port}/api/", timeout=30) as client,
    ):
        until(lambda: healthy(client), SECONDS, lambda: log.read_text()[-3000:])
        yield client


def healthy(client: httpx.Client) -> bool:
    try:
        return client.get("health").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def measured(swept_database: Database) -> Database:
    """drift with a version."""
    engine = swept_database.engine
    spec = load_spec(ROOT / "bentos" / "drift")
    number = versions.allot(engine, spec, manifest_digest="m", synthetic=True)
    versions.mark_ready(engine, "drift", number, archive="a" * 64, metrics={})
    rollouts.deploy(engine, "drift", number, weight=100, actor="a test")
    return swept_database


@pytest.fixture
def served(server: httpx.Client, measured: Database, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """`python -m services.jobs.flows`, and its deployments; Prefect lies over this environment, as the lock says."""
    over = [_UV, "run", "--no-project", "--python", sys.executable, "--with", PREFECT]
    environment = {
        "UV_CONSTRAINT": str(ROOT / "requirements.lock"),
        "PREFECT_API_URL": str(server.base_url),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "CANARI_DATABASE_URL": measured.app_url,
        "CANARI_DATA_DIR": str(tmp_path / "data"),
        "CANARI_EVALUATE_SCHEDULE": "5 3 * * *",
    }
    log = tmp_path / "flows.log"
    with running([*over, "python", "-m", "services.jobs.flows"], log, **environment):
        until(lambda: len(deployments(server)) == len(JobKind), SECONDS, lambda: log.read_text()[-3000:])
        yield deployments(server)


def deployments(server: httpx.Client) -> dict[str, Any]:
    found = server.post("deployments/filter", json={}).raise_for_status().json()
    return {one["name"] + " " + server.get(f"flows/{one['flow_id']}").json()["name"]: one for one in found}


def test_a_run_that_the_server_starts_does_the_job_and_its_states_and_log_are_there(
    server: httpx.Client, served: dict[str, Any], measured: Database
) -> None:
    schedules = Settings(evaluate_schedule="5 3 * * *").schedules
    assert {
        name: [(s["schedule"]["cron"], s["schedule"]["timezone"]) for s in one["schedules"]]
        for name, one in served.items()
    } == {f"canari canari-{kind}": [(cron, "UTC")] for kind, cron in schedules.items()}
    asked = server.post(f"deployments/{served['canari canari-evaluate']['id']}/create_flow_run", json={}).json()

    def state() -> str:
        return str(server.get(f"flow_runs/{asked['id']}").json()["state"]["type"])

    def lines() -> list[str]:
        wanted = {"logs": {"flow_run_id": {"any_": [asked["id"]]}}}
        return [log["message"] for log in server.post("logs/filter", json=wanted).json()]

    until(lambda: state() in {"COMPLETED", "FAILED", "CRASHED"}, SECONDS, state)
    [row] = jobs.newest(measured.engine)
    assert (state(), row.state, row.key[-6:]) == ("COMPLETED", JobState.DONE, "03:05Z")
    # What a run logs is sent a moment later.
    until(lambda: any(f"{row.key}: job {row.id} is done" in line for line in lines()), 30, lambda: str(lines()))
    [task] = server.post("task_runs/filter", json={"flow_runs": {"id": {"any_": [asked["id"]]}}}).json()
    assert (task["state"]["type"], task["empirical_policy"]["retries"]) == ("COMPLETED", 2)
