from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from canari.archive import pack
from canari.errors import CanariError
from canari.runtime.client import connect
from canari.runtime.fetch import OutOfTimeError, fetch

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Archives:
    """A feedback API that hands out one archive, after the statuses in `before`."""

    sha256: str
    body: bytes
    before: list[int] = field(default_factory=list)
    torn: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def start(self) -> ThreadingHTTPServer:
        archives = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archives.asked.append((self.path, self.headers["Authorization"]))
                status = archives.before.pop(0) if archives.before else 200
                self.send_response(status)
                body = archives.body if status == 200 else b"{}"
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status == 200 and archives.torn:
                    archives.torn -= 1
                    body = body[:-1]
                    self.close_connection = True
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[Archives]:
    bento = tmp_path / "bento"
    (bento / "src").mkdir(parents=True)
    (bento / "bento.yaml").write_text("name: line\n")
    sha256 = pack(bento, tmp_path / "archives")
    made = Archives(sha256, (tmp_path / "archives" / f"{sha256}.tar.gz").read_bytes())
    server = made.start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def test_a_bento_is_fetched_with_the_versions_own_token_and_nothing_else_is_left(
    archives: Archives, place: Path
) -> None:
    with connect(archives.url, "the-token") as client:
        fetch(client, archives.sha256, place)
    assert archives.asked == [(f"/internal/bentos/{archives.sha256}", "Bearer the-token")]
    assert (place / "content/bento.yaml").read_text() == "name: line\n"
    assert [file.name for file in place.iterdir()] == ["content"]


def test_a_bento_that_is_there_is_not_asked_for_again(archives: Archives, place: Path) -> None:
    with connect(archives.url, "t") as client:
        fetch(client, archives.sha256, place)
        fetch(client, archives.sha256, place)
    assert len(archives.asked) == 1


def test_a_platform_that_is_not_ready_and_a_torn_transfer_are_tried_again(archives: Archives, place: Path) -> None:
    archives.before, archives.torn = [503, 429], 1
    with connect(archives.url, "t") as client:
        fetch(client, archives.sha256, place)
    assert len(archives.asked) == 4
    assert (place / "content/bento.yaml").exists()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, "the token in CANARI_TOKEN is not this platform's"),
        (403, "not a version's"),
        (404, "push the version again"),
        (302, "CANARI_FEEDBACK_URL does not lead to Canari's feedback API"),
    ],
)
def test_a_refusal_is_told_at_once_with_what_to_mend(archives: Archives, place: Path, status: int, why: str) -> None:
    archives.before = [status]
    with connect(archives.url, "t") as client, pytest.raises(CanariError, match=why):
        fetch(client, archives.sha256, place)
    assert len(archives.asked) == 1


def test_what_is_not_what_the_digest_names_is_not_unpacked(archives: Archives, place: Path) -> None:
    with connect(archives.url, "t") as client, pytest.raises(CanariError, match="damaged: its SHA-256 is"):
        fetch(client, "0" * 64, place)
    assert not (place / "content").exists()


def test_a_folder_that_cannot_be_written_to_is_named(archives: Archives, tmp_path: Path) -> None:
    with connect(archives.url, "t") as client, pytest.raises(CanariError, match=r"cannot be written to .*/nowhere"):
        fetch(client, archives.sha256, tmp_path / "nowhere")


def test_a_platform_that_stays_away_ends_the_waiting_with_the_last_fault(place: Path) -> None:
    with connect("http://127.0.0.1:9", "t") as client, pytest.raises(OutOfTimeError, match=r"127\.0\.0\.1:9 .*refused"):
        fetch(client, "0" * 64, place, timeout_seconds=0.3)


def command(place: Path, told: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """The command as a pod runs it."""
    argv = [sys.executable, "-m", "canari.runtime.fetch", "--to", str(place), *options]
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **told}, capture_output=True, text=True, check=False)


def test_the_commands_status_tells_what_may_be_tried_again(archives: Archives, place: Path) -> None:
    told = {"CANARI_ARCHIVE": archives.sha256, "CANARI_TOKEN": "t", "CANARI_FEEDBACK_URL": archives.url}
    away = command(place, {**told, "CANARI_FEEDBACK_URL": "http://127.0.0.1:9"}, "--timeout", "0")
    assert away.returncode == os.EX_TEMPFAIL
    archives.before = [404]
    refused = command(place, told)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("canari.runtime.fetch: the feedback API refuses")
    assert command(place, told).returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("CANARI_ARCHIVE", "", "CANARI_ARCHIVE is not set"),
        ("CANARI_ARCHIVE", "../../etc", "must be a SHA-256"),
        ("CANARI_TOKEN", "", "CANARI_TOKEN is not set"),
        ("CANARI_FEEDBACK_URL", "", "CANARI_FEEDBACK_URL is not set"),
    ],
)
def test_what_is_not_told_rightly_is_named(place: Path, name: str, value: str, why: str) -> None:
    told = {"CANARI_ARCHIVE": "0" * 64, "CANARI_TOKEN": "t", "CANARI_FEEDBACK_URL": "http://127.0.0.1:9", name: value}
    done = command(place, told)
    assert done.returncode == 1
    assert why in done.stderr.splitlines()[-1]


def test_waiting_says_for_what_as_json_where_logs_are_json_and_ends_when_told_to(place: Path) -> None:
    told = {"CANARI_ARCHIVE": "0" * 64, "CANARI_TOKEN": "t", "CANARI_FEEDBACK_URL": "http://127.0.0.1:9"}
    argv = [sys.executable, "-m", "canari.runtime.fetch", "--to", str(place)]
    with subprocess.Popen(
        argv, cwd=ROOT, env={**os.environ, **told, "CANARI_LOG_FORMAT": "json"}, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr
        said = json.loads(child.stderr.readline())
        assert said["message"].startswith("waiting for the feedback API at http://127.0.0.1:9")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 143
        assert time.monotonic() - began < 2
