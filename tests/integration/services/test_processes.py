"""The services as the launcher runs them: processes on Unix sockets."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from canari.runtime.client import connect
from canari.runtime.recorder import Recorder
from canari.settings import Layout
from canari.store import predictions
from canari.tokens import Scope, issue, new_key, private_pem
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import prediction
from tests.platform import until

KEY = new_key()
Started = subprocess.Popen[bytes]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose sockets' paths are short."""
    with tempfile.TemporaryDirectory(prefix="canari-") as name:
        yield Path(name)


def start(service: str, uds: Path, **environment: str) -> Started:
    command = [sys.executable, "-m", f"services.{service}", "--uds", str(uds)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CANARI_")}
    return subprocess.Popen(command, cwd=ROOT, env=clean | environment, stderr=subprocess.PIPE)


def get(uds: Path, url: str) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(uds)), base_url="http://service") as client:
        return client.get(url)


def wait(process: Started, uds: Path, url: str) -> httpx.Response:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        try:
            return get(uds, url)
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def end(process: Started) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors.decode()


def feedback_environment(folder: Path, database: Database) -> dict[str, str]:
    layout = Layout(folder / "data")
    layout.create()
    (layout.keys / "signing.pem").write_bytes(private_pem(KEY))
    return {
        "CANARI_DATABASE_URL": database.app_url,
        "CANARI_DATA_DIR": str(layout.root),
        "CANARI_LOG_FORMAT": "json",
        "CANARI_LOG_LEVEL": "DEBUG",
    }


def test_the_feedback_api_takes_over_a_dead_ones_socket_and_ends_in_order(folder: Path, database: Database) -> None:
    uds = folder / "feedback.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(uds))
    environment = feedback_environment(folder, database)
    process = start("feedback", uds, **environment)
    try:
        answer = wait(process, uds, "/api/health")
        assert answer.json() == {"status": "ok", "database": "ok"}
        second = start("feedback", uds, **environment)
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another process answers on" in errors.decode()
        assert get(uds, "/api/health").status_code == 200
    finally:
        status, logs = end(process)
    assert status == 0, logs
    assert f'"request_id": "{answer.headers["x-request-id"]}"' in logs


class Gauges:
    def __init__(self) -> None:
        self.lost = 0

    def set_spool_bytes(self, count: int) -> None:
        pass

    def add_lost(self, count: int) -> None:
        self.lost += count


def test_what_a_bento_records_while_the_api_is_away_is_in_the_database_once_it_is_back(
    folder: Path, database: Database
) -> None:
    uds, gauges = folder / "feedback.sock", Gauges()
    token, _ = issue(
        KEY, subject="bento", scopes=[Scope.RECORD], models=["cats_dogs"], version=2, lifetime=timedelta(hours=1)
    )
    recorder = Recorder(folder / "spool", "cats_dogs-2", connect(f"unix:{uds}", token), gauges)
    recorder.start()
    rows = [prediction(recorder.next_seq(), recorder=recorder.id) for _ in range(700)]
    recorder.append(rows)
    assert not recorder.flush(1)
    process = start("feedback", uds, **feedback_environment(folder, database))
    try:
        wait(process, uds, "/api/health")
        assert recorder.close(30)
    finally:
        end(process)
    kept = predictions.page(database.engine, "cats_dogs", limit=1000)
    assert [(r.version, r.prediction) for r in reversed(kept)] == [(2, row) for row in rows]
    assert predictions.losses(database.engine, "cats_dogs") == {2: 0}
    assert gauges.lost == 0


def test_the_feedback_api_says_what_setting_it_misses(folder: Path, database: Database) -> None:
    without_database = start("feedback", folder / "a.sock")
    without_key = start(
        "feedback", folder / "b.sock", CANARI_DATABASE_URL=database.app_url, CANARI_DATA_DIR=str(folder)
    )
    for process, missing in ((without_database, "CANARI_DATABASE_URL is not set"), (without_key, "signing.pem")):
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert missing in errors.decode()
        assert "Traceback" not in errors.decode()


def test_the_portal_needs_nothing_but_a_socket(folder: Path) -> None:
    uds = folder / "portal.sock"
    process = start("portal", uds)
    try:
        assert wait(process, uds, "/healthz").text == "ok"
        assert "Canari" in get(uds, "/").text
    finally:
        status, logs = end(process)
    assert status == 0, logs


def test_the_fetcher_needs_neither_key_nor_database_and_says_which_setting_is_wrong(folder: Path) -> None:
    uds = folder / "fetcher.sock"
    process = start("fetcher", uds, CANARI_GATEWAY_URL="http://127.0.0.1:1", CANARI_FETCHER_ALLOW_PRIVATE="127.0.0.0/8")
    try:
        assert wait(process, uds, "/healthz").text == "ok"
    finally:
        status, logs = end(process)
    assert status == 0, logs
    wrong = start("fetcher", uds, CANARI_FETCHER_ALLOW_PRIVATE="10.0.0.0/8, here")
    _, errors = wrong.communicate(timeout=60)
    assert wrong.returncode == 1
    assert errors.decode().startswith("canari fetcher: CANARI_FETCHER_ALLOW_PRIVATE: ")


def test_a_service_answers_on_a_port_and_ends_in_order() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "services.portal", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        until(lambda: answered(f"http://127.0.0.1:{port}/healthz"), 60)
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"port {port} of 127.0.0.1 is not free" in second.stderr
    finally:
        status, logs = end(process)
    assert status == 0, logs


def answered(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "one of the arguments --uds --port is required"),
        (("--port", "0"), "'0' is no port: give a number from 1 to 65535"),
        (("--uds", "a.sock", "--port", "8000"), "not allowed with argument"),
        (("--uds", "a.sock", "--host", "0.0.0.0"), "--host goes with --port"),
    ],
)
def test_an_address_that_is_none_is_refused(arguments: tuple[str, ...], told: str) -> None:
    command = [sys.executable, "-m", "services.portal", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
