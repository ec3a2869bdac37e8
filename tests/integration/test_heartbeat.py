"""Signs of life, told to a real server that keeps what it was told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from loguru import logger
from pydantic import SecretStr

from canari.heartbeat import Pulse, ping


class Told(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    body: str


class Watcher(ThreadingHTTPServer):
    """Keeps the requests it gets, and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[Told] = []
        self.status = 200

    def url(self, path: str) -> SecretStr:
        return SecretStr(f"http://127.0.0.1:{self.server_address[1]}{path}")


class _Handler(BaseHTTPRequestHandler):
    server: Watcher

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.told.append(Told(self.command, parts.path, dict(parse_qsl(parts.query)), body))
        self.send_response(self.server.status)
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - the base class finds it by this name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
        """What was told is kept instead."""


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    server = Watcher()
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda line: lines.append(str(line)), level="DEBUG")
    yield lines
    logger.remove(handler)


@pytest.mark.parametrize(
    ("path", "ok", "expected"),
    [
        ("/api/push/abc?ping=", True, Told("GET", "/api/push/abc", {"status": "up", "msg": "12 rows & more"}, "")),
        ("/api/push/abc", False, Told("GET", "/api/push/abc", {"status": "down", "msg": "12 rows & more"}, "")),
        ("/ping/1234", True, Told("POST", "/ping/1234", {}, "12 rows & more")),
        ("/ping/1234", False, Told("POST", "/ping/1234/fail", {}, "12 rows & more")),
        ("/anything?key=x", True, Told("GET", "/anything", {"key": "x"}, "")),
    ],
)
def test_each_kind_of_watcher_is_told_in_its_own_way(watcher: Watcher, path: str, ok: bool, expected: Told) -> None:
    ping(watcher.url(path), ok, "12 rows & more")
    assert watcher.told == [expected]


def test_an_unknown_watcher_hears_of_a_failure_by_silence(watcher: Watcher) -> None:
    ping(watcher.url("/anything"), False, "no such table")
    assert watcher.told == []


def test_without_an_address_nobody_is_told() -> None:
    ping(None, True)


def test_a_watcher_that_refuses_is_logged_without_its_address(watcher: Watcher, logged: list[str]) -> None:
    watcher.status = 404
    ping(watcher.url("/ping/secret-address"), True)
    [line] = logged
    assert "127.0.0.1 answered 404" in line
    assert "secret-address" not in line


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/ping/secret-address", "ftp://secret-address", "http://[secret-address"]
)
def test_a_watcher_that_cannot_be_reached_is_logged_and_raises_nothing(url: str, logged: list[str]) -> None:
    ping(SecretStr(url), True, "done")
    [line] = logged
    assert "did not arrive" in line
    assert "secret-address" not in line


def test_a_watcher_that_does_not_answer_costs_no_more_than_the_time_it_is_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        ping(SecretStr(f"http://127.0.0.1:{silent.getsockname()[1]}/"), True, wait_seconds=0.3)
        assert time.monotonic() - began < 2


def test_a_pulse_beats_once_within_its_time_and_again_after_it(watcher: Watcher) -> None:
    pulse = Pulse(watcher.url("/api/push/health"), every_seconds=0.5)
    for _ in range(5):
        pulse.beat("ready")
    until(lambda: len(watcher.told) == 1)
    time.sleep(0.6)
    pulse.beat("ready")
    until(lambda: len(watcher.told) == 2)
    assert {told.query["status"] for told in watcher.told} == {"up"}


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
