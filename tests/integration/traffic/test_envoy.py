"""The gateway as it really is: Envoy's own process, its files and its counters."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from canari.launch.launcher import State
from canari.launch.processes import Supervisor
from canari.traffic.envoy_files import EnvoyFiles
from canari.types import Arm, Share, Split


class Upstream(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.seen: list[tuple[str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(handler) -> None:  # noqa: N805
                handler.rfile.read(int(handler.headers.get("content-length", 0)))
                time.sleep(0.05 if "slow" in handler.path else 0)
                self.seen.append((handler.path, handler.headers.get("x-canari-arm")))
                body = name.encode()
                handler.send_response(200)
                handler.send_header("content-length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            do_GET = do_POST = handle_request  # noqa: N815 - the standard library's names

            def address_string(handler) -> str:  # noqa: N805
                return "unix"

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(str(folder / f"{name}.sock"), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Gateway:
    def __init__(self, files: EnvoyFiles, port: int, upstreams: dict[str, Upstream]) -> None:
        self.files = files
        self.upstreams = upstreams
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def split(self, *shares: tuple[int, int], mirror: int | None = None, rollout: int = 7) -> None:
        wanted = Split(
            model="cats_dogs",
            shares=tuple(Share(Arm(rollout, 2, version), weight) for version, weight in shares),
            pins=tuple(version for version, _ in shares),
            timeout_seconds=5,
            mirror=mirror,
        )
        until(lambda: self.files.apply([wanted]))


def raw_get(gateway: Gateway, path: str) -> str:
    """What the gateway answers to a path that a client library would have tidied."""
    with socket.create_connection(("127.0.0.1", gateway.client.base_url.port or 80)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: canari\r\nconnection: close\r\n\r\n".encode())
        with connection.makefile() as answer:
            return answer.read()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within time"
        time.sleep(0.02)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for folder in ("envoy", "pids", "logs", "s"):
        (tmp_path / folder).mkdir()
    names = ("feedback", "portal", "cats_dogs-1", "cats_dogs-2", "cats_dogs-3")
    upstreams = {name: Upstream(tmp_path / "s", name) for name in names}
    files = EnvoyFiles(tmp_path / "envoy", tmp_path / "s", host="127.0.0.1", port=port)
    supervisor = Supervisor(tmp_path / "pids", tmp_path / "logs")
    program = files.program
    until(lambda: supervisor.ensure(program) is State.READY)
    yield Gateway(files, port, upstreams)
    supervisor.stop(["envoy"])
    for upstream in upstreams.values():
        upstream.shutdown()
        upstream.server_close()


def test_requests_are_split_by_weight_and_stamped_with_their_arm(gateway: Gateway) -> None:
    gateway.split((1, 80), (2, 20))
    forged = {"x-canari-arm": "9.9.9"}
    answers = Counter(
        gateway.client.post("/api/cats_dogs/predict", content=b"x", headers=forged).text for _ in range(1000)
    )
    assert answers.total() == 1000
    assert abs(answers["cats_dogs-2"] - 200) <= 51  # 4 sigma
    stamps = {arm for upstream in gateway.upstreams.values() for _, arm in upstream.seen}
    assert stamps == {"7.2.1", "7.2.2"}


def test_a_header_or_a_path_pins_a_version_and_an_absent_one_is_refused(gateway: Gateway) -> None:
    gateway.split((1, 99), (2, 1))
    for path, headers in [
        ("/api/cats_dogs/predict", {"x-canari-version": "2", "x-canari-arm": "7.2.2"}),
        ("/v2/models/cats_dogs/infer", {"x-canari-version": "2"}),
        ("/v2/models/cats_dogs/versions/2/infer", {}),
    ]:
        answer = gateway.client.post(path, headers=headers)
        assert (answer.status_code, answer.text) == (200, "cats_dogs-2")
    assert {arm for _, arm in gateway.upstreams["cats_dogs-2"].seen} == {"pin"}
    for path, headers in [
        ("/api/cats_dogs/predict", {"x-canari-version": "9"}),
        ("/v2/models/cats_dogs/versions/9/infer", {}),
    ]:
        refused = gateway.client.post(path, headers=headers)
        assert refused.status_code == 404
        assert refused.headers["content-type"] == "application/problem+json"
        assert "those that are: 1, 2" in refused.json()["detail"]


def test_a_model_without_a_ready_version_says_so(gateway: Gateway) -> None:
    gateway.split()
    refused = gateway.client.post("/api/cats_dogs/predict")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


def test_only_public_routes_are_reachable(gateway: Gateway) -> None:
    gateway.split((1, 100))
    expected = {
        "/": "portal",
        "/docs.json": "portal",
        "/api/status": "feedback",
        "/api/cats_dogs/feedback": "feedback",
        "/api/cats_dogs/predict/": "feedback",
        "/v2/health/ready": "feedback",
        "/v2/models/other/infer": "feedback",
        "/v2/models/cats_dogs": "cats_dogs-1",
    }
    assert {path: gateway.client.get(path).text for path in expected} == expected
    for hidden in ("/internal/predictions", "/api/../internal/predictions", "//internal/revocations"):
        answer = raw_get(gateway, hidden)
        assert answer.startswith("HTTP/1.1 404"), answer
    assert gateway.client.get("/api/%2e%2e%2finternal/predictions").status_code == 400


def test_a_mirror_gets_copies_and_its_answer_is_not_seen(gateway: Gateway) -> None:
    gateway.split((1, 100), mirror=3)
    answers = {gateway.client.post("/api/cats_dogs/predict", content=b"x").text for _ in range(20)}
    assert answers == {"cats_dogs-1"}
    until(lambda: len(gateway.upstreams["cats_dogs-3"].seen) == 20)
    assert {arm for _, arm in gateway.upstreams["cats_dogs-3"].seen} == {"7.2.1"}


def test_no_request_fails_while_weights_change_and_versions_come_and_go(gateway: Gateway) -> None:
    gateway.split((1, 100))
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=gateway.client.base_url, timeout=10) as client:
            while not stop.is_set():
                statuses.append(client.post("/api/cats_dogs/predict", content=b"x" * 1000).status_code)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for rollout in range(5):
        gateway.split((1, 70), (2, 30), rollout=rollout + 8)
        gateway.split((2, 100), rollout=rollout + 8)
        gateway.split((1, 100), rollout=rollout + 8)
    stop.set()
    for client in clients:
        client.join()
    assert len(statuses) > 100
    assert set(statuses) == {200}


def test_a_version_is_unused_only_once_its_last_request_has_ended(gateway: Gateway) -> None:
    gateway.split((1, 100))
    asking = threading.Thread(target=lambda: gateway.client.get("/v2/models/cats_dogs/slow"))
    asking.start()
    until(lambda: not gateway.files.unused("cats_dogs", 1), seconds=5)
    asking.join()
    until(lambda: gateway.files.unused("cats_dogs", 1))
