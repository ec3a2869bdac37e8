"""The whole platform on one machine, through its gateway: real processes, real Envoy, real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from tests.platform import POINT, ROOT, Platform, until


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
    status = platform.canari("status")
    assert status["url"].endswith(str(platform.port))
    assert "databases" not in status
    assert (platform.data / "status.json").stat().st_mode & 0o077 == 0
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


def test_the_fetcher_answers_through_the_gateway_and_fetches_nothing_of_this_machine(platform: Platform) -> None:
    refused = platform.client.post("/api/drift/predict-url", json={"url": "http://127.0.0.1/"})
    assert (refused.status_code, refused.json()["title"]) == (422, "Address not public")


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


def test_what_is_asked_of_an_installed_platform_passes_here_too(platform: Platform) -> None:
    environment = {**os.environ, "CANARI_KEYS_DIR": str(platform.data / "keys")}
    command = [sys.executable, "-m", "services.jobs", "probe", "--gateway-url", str(platform.client.base_url)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "passed drift: version" in done.stderr
