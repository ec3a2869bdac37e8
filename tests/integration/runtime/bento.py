"""A real bento of the family drift with a small model, and processes that serve it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from canari.measures import refer
from canari.runtime.files import RUNTIME_FILES
from canari.spec_file import load_spec
from canari.tokens import Scope
from tests.unit.runtime.kit import PUBLIC_KEY, token, write_row_model

ROOT = Path(__file__).resolve().parents[3]
VERSION = 5
PATH = "/api/drift/predict"
ROW = {"x1": 3, "x2": 4}
BINS = [8, 7]


def build(home: Path, stage: Path) -> Path:
    """Build the bento as the documentation says, by bentofile.yaml; returns its folder."""
    family = ("bentos/drift/__init__.py", "bentos/drift/model.py", "bentos/drift/model.yaml")
    for pattern in (*RUNTIME_FILES, *family, "bentofile.yaml"):
        for file in ROOT.glob(pattern):
            copy = stage / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    (stage / "artifact").mkdir()
    spec = load_spec(ROOT / "bentos/drift")
    (stage / "artifact/spec.json").write_text(json.dumps(spec.document()))
    reference = refer(spec.input, [np.array([[0, 0], [1, 9], [2, 1], [4, 2]], np.float32)], {})
    (stage / "artifact/reference.json").write_text(json.dumps(reference.document()))
    write_row_model(stage / "artifact/model.onnx")
    command = [sys.executable, "-m", "bentoml", "build", "--arg", "family=drift", "--version", "1"]
    built = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=stage, env=environment(home), timeout=120
    )
    assert built.returncode == 0, built.stderr
    return home / "bentos/drift/1"


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a process is started with: nothing of this process's own CANARI_ settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CANARI_", "BENTOML_"))}
    return {**inherited, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **more}


def platform(feedback_url: str, spool: Path) -> dict[str, str]:
    """The variables a launcher sets."""
    return {
        "CANARI_TOKEN": token(Scope.RECORD, models=("drift",), version=VERSION),
        "CANARI_PUBLIC_KEY": PUBLIC_KEY.decode(),
        "CANARI_FEEDBACK_URL": feedback_url,
        "CANARI_SPOOL_DIR": str(spool),
        "CANARI_LOG_FORMAT": "json",
    }


@dataclass
class Served:
    """A serving process, and how to ask it."""

    process: subprocess.Popen[str]
    client: httpx.Client
    socket: Path | None = None

    def predict(self) -> httpx.Response:
        """Ask for the row that is `above`."""
        return self.client.post(PATH, json=ROW)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


def command(bento: Path, *arguments: str) -> list[str]:
    """How a launcher starts a bento."""
    return [sys.executable, "-B", "-m", "canari.runtime.serve", str(bento), *arguments]


@contextmanager
def serving(bento: Path, folder: Path, variables: dict[str, str]) -> Iterator[Served]:
    """The bento behind a Unix socket, ready."""
    path = folder / "v.sock"
    process = start(command(bento, "--uds", str(path)), bento / "src", environment(folder / "home", **variables))
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://bento", timeout=10)
    with ended(process):
        until_ready(process, client)
        yield Served(process, client, path)


def start(arguments: list[str], folder: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process whose complaints can be read."""
    return subprocess.Popen(arguments, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """See to it that the process is gone at the end; asked first, because a supervisor then ends its workers."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()


def until_ready(process: subprocess.Popen[str], client: httpx.Client) -> None:
    """Wait until /readyz says so."""

    def ready() -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    assert soon(ready, 60)


def soon(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def free_port() -> int:
    """A loopback port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
