from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from tests.integration.runtime.bento import (
    BINS,
    PATH,
    ROW,
    VERSION,
    Served,
    command,
    ended,
    environment,
    free_port,
    platform,
    serving,
    soon,
    start,
    until_ready,
)
from tests.unit.runtime.kit import FeedbackServer


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_bento_answers_on_its_socket_and_writes_nothing_into_itself(
    bento: Path, short: Path, feedback: FeedbackServer
) -> None:
    before = listing(bento)
    with serving(bento, short, platform(feedback.url, short / "spool")) as served:
        answer = served.predict()
        assert answer.json()["answer"] == "above"
        assert answer.json()["version"] == VERSION
        assert served.client.get("/livez").status_code == 200
        assert feedback.wait_for(lambda: len(feedback.rows) == 1)
        assert feedback.rows[0]["id"] == answer.json()["prediction_id"]
        assert feedback.rows[0]["bins"] == BINS
    assert listing(bento) == before


def test_sigterm_lets_the_request_in_flight_finish_and_ships_its_row(
    bento: Path, short: Path, feedback: FeedbackServer
) -> None:
    body = json.dumps(ROW).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(bento, short, platform(feedback.url, short / "spool")) as served:
        assert served.socket
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(served.socket))
            connection.sendall(head.encode() + body[:5])
            _wait_until_held(served)
            served.ask_to_stop()
            assert soon(lambda: _refuses(served.socket))
            assert served.process.poll() is None
            connection.sendall(body[5:])
            answer = connection.recv(10_000)
        assert served.process.wait(10) == 0
    assert answer.startswith(b"HTTP/1.1 200")
    assert [row["status"] for row in feedback.rows] == [200]
    assert list((short / "spool").iterdir()) == []


def _wait_until_held(served: Served) -> None:
    line = 'canari_requests_in_flight{model="drift",version="5"} 1.0'
    assert soon(lambda: line in served.client.get("/metrics").text)


def _refuses(path: Path | None) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return True
    return False


def test_a_killed_process_loses_no_row_it_answered_for(bento: Path, short: Path, feedback: FeedbackServer) -> None:
    variables = platform(feedback.url, short / "spool")
    feedback.status = 503
    with serving(bento, short, variables) as served:
        answered = [served.predict().json()["prediction_id"] for _ in range(50)]
        served.process.kill()
        assert served.process.wait(10) == -9
    assert feedback.rows == []
    feedback.status = 200
    with serving(bento, short, variables) as served:
        assert feedback.wait_for(lambda: len(feedback.rows) >= 50)
        served.ask_to_stop()
        assert served.process.wait(10) == 0
    assert [row["id"] for row in feedback.rows] == answered
    assert [row["seq"] for row in feedback.rows] == list(range(1, 51))
    assert list((short / "spool").iterdir()) == []


def test_a_stale_socket_is_replaced_and_bentomls_own_ways_in_do_not_exist(bento: Path, short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short / "v.sock"))
    with serving(bento, short, {}) as served:
        assert served.predict().status_code == 200
        for path in ("/predict", "/v1/predict", "/__call__", "/", "/docs.json", "/drift/predict"):
            answer = served.client.post(path, content=b"x", headers={"Content-Type": "application/vnd.bentoml+pickle"})
            assert answer.status_code in {404, 405}, path


def test_a_file_that_is_no_socket_is_left_alone(bento: Path, short: Path) -> None:
    (short / "file").write_text("precious")
    failed = _fails(command(bento, "--uds", str(short / "file")), bento, environment(short / "home"))
    assert "a file that is not a socket" in failed
    assert (short / "file").read_text() == "precious"


def test_what_cannot_start_says_why_in_one_line(bento: Path, short: Path) -> None:
    variables = environment(short / "home", CANARI_TOKEN="nonsense")
    failed = _fails(command(bento, "--uds", str(short / "v.sock")), bento, variables)
    assert failed.count("\n") == 1
    assert "CANARI_PUBLIC_KEY" in failed


def _fails(arguments: list[str], bento: Path, variables: dict[str, str]) -> str:
    result = subprocess.run(
        arguments, cwd=bento / "src", env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    return result.stderr


def test_the_open_inference_protocols_own_client_works_as_it_is(bento: Path, short: Path) -> None:
    port = free_port()
    process = start(command(bento, "--port", str(port)), bento / "src", environment(short / "home"))
    with ended(process), httpx.Client(base_url=f"http://127.0.0.1:{port}") as plain:
        until_ready(process, plain)
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        assert client.is_model_ready("drift")
        assert client.is_model_ready("drift", "0")
        assert client.get_model_metadata("drift")["name"] == "drift"
        numbers = triton.InferInput("input", [2, 2], "FP32")
        numbers.set_data_from_numpy(np.array([[1, 1], [-1, -1]], np.float32))
        answer = client.infer("drift", [numbers], request_id="mine")
        assert answer.as_numpy("scores").argmax(axis=1).tolist() == [1, 0]
        assert answer.as_numpy("label").tolist() == [b"above", b"below"]
        assert answer.get_response()["id"] == "mine"
        texts = triton.InferInput("input", [1, 1], "BYTES")
        texts.set_data_from_numpy(np.array([[json.dumps(ROW).encode()]], np.object_), binary_data=False)
        wanted = [triton.InferRequestedOutput("label", binary_data=False)]
        assert client.infer("drift", [texts], model_version="0", outputs=wanted).as_numpy("label").tolist() == ["above"]
        with pytest.raises(triton.InferenceServerException, match="version 0 of 'drift'"):
            client.infer("drift", [numbers], model_version="7")
        client.close()


def test_two_workers_of_bentomls_own_server_answer_with_the_metrics_of_both(
    bento: Path, short: Path, feedback: FeedbackServer
) -> None:
    port = free_port()
    variables = environment(short / "home", **platform(feedback.url, short / "spool"), CANARI_WORKERS="2")
    arguments = [str(Path(command(bento)[0]).with_name("bentoml")), "serve", str(bento), "--port", str(port)]
    process = start(arguments, short, variables)
    with ended(process), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        until_ready(process, client)
        assert soon(lambda: len(list((short / "spool").glob("*.lock"))) == 2)
        for _ in range(40):
            # A connection each, so that the kernel gives some to either worker.
            assert httpx.post(f"http://127.0.0.1:{port}{PATH}", json=ROW).status_code == 200
        assert feedback.wait_for(lambda: len(feedback.rows) == 40)
        for _ in range(6):
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            assert 'canari_requests_total{kind="direct",model="drift",status="200",version="5"} 40.0' in text
            assert 'canari_request_seconds_count{kind="direct",model="drift",status="200",version="5"} 40.0' in text
            assert 'canari_requests_in_flight{model="drift",version="5"} 0.0' in text
    assert len({row["recorder"] for row in feedback.rows}) == 2
