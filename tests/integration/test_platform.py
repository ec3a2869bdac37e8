"""The whole platform on one machine, through its gateway: real processes, real Envoy, real PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest
import tritonclient.http as triton
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError
from tests.conftest import ROOT

POINT = {"x1": 0.4, "x2": -0.2}


class Platform:
    """A data folder with a platform on it, whose only family is a copy of `drift`."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.families = folder / "models"
        shutil.copytree(ROOT / "bentos" / "drift", self.families / "drift")
        (self.families / "__init__.py").touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = {"CANARI_FAMILIES_DIR": str(self.families), "COLUMNS": "200"}
        self.log = folder / "up.log"
        self.up: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "canari.cli", "up", "--data-dir", str(self.data), "--port", str(self.port)],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait()

    def wait(self) -> None:
        until(lambda: self.status().get("waiting_for") == [], 180, lambda: self.log.read_text()[-3000:])

    def stop(self) -> None:
        assert self.up is not None
        self.up.send_signal(signal.SIGINT)
        assert self.up.wait(60) == 0

    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.data / "status.json").read_text()))
        except (OSError, ValueError):
            return {}

    def pid(self, name: str) -> int | None:
        return next((p["pid"] for p in self.status().get("processes", []) if p["name"] == name), None)

    def canari(self, *arguments: str) -> Any:
        done = CliRunner(env=self.environment).invoke(app, [*arguments, "--data-dir", str(self.data), "--json"])
        if isinstance(done.exception, CanariError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def train(self) -> int:
        """Another version, from the samples that the first one learned from."""
        arguments = [
            "train",
            "drift",
            "--data",
            str(self.data.parent / "points"),
            "--data-dir",
            str(self.data),
            "--json",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "canari.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return int(json.loads(done.stdout.strip().splitlines()[-1])["version"])

    def predict(self, **headers: str) -> httpx.Response:
        return self.client.post(
            "/api/drift/predict", json=POINT, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self.status()["databases"]["app"]) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()


def until(condition: Callable[[], bool], seconds: float, told: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


def write_points(folder: Path) -> None:
    """Points on both sides of a line, a folder per label."""
    for label, side in (("below", -1), ("above", 1)):
        (folder / label).mkdir(parents=True)
        for n in range(60):
            x1 = (n - 30) / 15
            row = {"x1": x1, "x2": x1 + side * (0.2 + n % 7 / 7)}
            (folder / label / f"{n}.json").write_text(json.dumps(row))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    for parent in (folder, folder.parent):
        parent.chmod(0o711)
    write_points(folder / "points")
    made = Platform(folder)
    made.start()
    yield made
    made.stop()
    left = [p.info for p in psutil.process_iter(["pid", "cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]
    assert left == []


def test_a_prediction_is_recorded_and_its_feedback_kept_once(platform: Platform) -> None:
    answer = platform.predict()
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model"], body["version"]) == ("drift", 1)
    assert body["labels"][0]["score"] >= body["labels"][1]["score"]
    vote = {"prediction_id": body["prediction_id"], "right": True, "label": None, "comment": None}
    assert [platform.client.post("/api/drift/feedback", json=vote).status_code for _ in range(2)] == [201, 200]
    query = "SELECT model, version, kind, status, label FROM predictions WHERE id = %s"
    until(lambda: bool(platform.rows(query, body["prediction_id"])), 10)
    assert platform.rows(query, body["prediction_id"]) == [("drift", 1, "arm", 200, body["labels"][0]["label"])]
    assert platform.rows('SELECT "right" FROM feedback WHERE prediction_id = %s', body["prediction_id"]) == [(True,)]


def test_a_refused_request_is_recorded_with_its_reason(platform: Platform) -> None:
    refused = platform.client.post("/api/drift/predict", json={"x1": "far"})
    assert refused.status_code in {400, 422}
    assert refused.headers["content-type"] == "application/problem+json"
    until(
        lambda: platform.rows("SELECT count(*) FROM predictions WHERE status = %s", refused.status_code)[0][0] > 0, 10
    )


def test_a_client_of_the_open_inference_protocol_works_as_it_is(platform: Platform) -> None:
    import numpy as np

    client = triton.InferenceServerClient(f"127.0.0.1:{platform.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("drift")
    points = triton.InferInput("input", [3, 2], "FP32")
    points.set_data_from_numpy(np.zeros((3, 2), dtype=np.float32))
    answer = client.infer("drift", [points])
    assert answer.as_numpy("scores").shape == (3, 2)


def test_commands_speak_to_the_running_platform(platform: Platform, tmp_path: Path) -> None:
    file = tmp_path / "point.json"
    file.write_text(json.dumps(POINT))
    answer = platform.canari("predict", "drift", str(file))
    assert answer["version"] == 1
    assert platform.canari("feedback", "drift", answer["prediction_id"], "--wrong", "--label", "above")
    assert platform.canari("weights", "drift") == {"1": 100}
    assert platform.canari("status")["url"].endswith(str(platform.port))
    assert [v["version"] for v in platform.canari("versions", "drift")] == [1]


def test_a_second_up_finds_the_first(platform: Platform) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "canari.cli", "up", "--data-dir", str(platform.data), "--port", "1"],
        cwd=ROOT,
        env={**os.environ, **platform.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 0
    assert f"http://127.0.0.1:{platform.port}" in second.stderr.replace("\n", "")


def test_a_token_is_needed_where_the_specification_says_so_and_a_revoked_one_is_refused(platform: Platform) -> None:
    made = platform.canari("token", "create", "ada", "--scope", "predict")
    answer = platform.predict(authorization=f"Bearer {made['token']}")
    assert answer.status_code == 200
    until(lambda: bool(platform.rows("SELECT 1 FROM predictions WHERE subject = 'ada'")), 10)
    platform.canari("token", "revoke", made["id"])
    until(lambda: platform.predict(authorization=f"Bearer {made['token']}").status_code == 401, 35)


def test_a_second_version_gets_its_share_and_is_promoted_and_rolled_back(platform: Platform) -> None:
    assert platform.train() == 2
    platform.canari("deploy", "drift", "2", "--weight", "20")
    versions = Counter(platform.predict().json()["version"] for _ in range(500))
    assert abs(versions[2] - 100) <= 36  # 4 sigma
    assert platform.predict(x_canari_version="2").json()["version"] == 2
    kinds = "SELECT DISTINCT kind FROM predictions WHERE version = 2"
    until(lambda: {k for (k,) in platform.rows(kinds)} == {"arm", "pin"}, 10)
    arms = platform.rows("SELECT DISTINCT rollout, step FROM predictions WHERE version = 2 AND kind = 'arm'")
    assert len(arms) == 1
    assert arms[0][0] > 0
    platform.canari("deploy", "drift", "1")
    assert platform.canari("weights", "drift") == {"1": 100}
    platform.canari("deploy", "drift", "2")
    assert {platform.predict().json()["version"] for _ in range(20)} == {2}
    until(lambda: platform.pid("bento-drift-1") is None, 20)


@pytest.mark.parametrize("name", ["feedback", "envoy", "bento-drift", "portal", "postgres"])
def test_whatever_is_killed_comes_back_and_loses_no_answered_prediction(platform: Platform, name: str) -> None:
    name = next(p["name"] for p in platform.status()["processes"] if p["name"].startswith(name) and p["pid"])
    answered = [platform.predict().json()["prediction_id"] for _ in range(20)]
    killed = platform.pid(name)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    until(lambda: platform.pid(name) not in {None, killed}, 60)
    platform.wait()

    def ok() -> bool:
        try:
            return platform.predict().status_code == 200
        except httpx.TransportError:
            return False

    until(ok, 60)
    count = "SELECT count(*) FROM predictions WHERE id = ANY(%s::uuid[])"
    until(lambda: platform.rows(count, answered)[0][0] == len(answered), 40)


def test_a_new_up_adopts_what_a_killed_one_left(platform: Platform) -> None:
    names = [p["name"] for p in platform.status()["processes"] if p["pid"]]
    before = {name: platform.pid(name) for name in names}
    assert platform.up is not None
    platform.up.kill()
    platform.up.wait()
    assert platform.predict().status_code == 200
    (platform.data / "status.json").unlink()
    platform.start()
    assert {name: platform.pid(name) for name in names} == before
