"""A platform elsewhere: the feedback API on a port, as a cluster's gateway leads to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError
from canari.keys import ensure_signing_key
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import versions
from canari.tokens import Scope, issue
from tests.conftest import ROOT, Database
from tests.platform import until


@dataclass
class Elsewhere:
    """A platform on another machine, with the model drift and no version."""

    url: str
    database: Database
    token: str
    data: Path

    def canari(self, *arguments: str, token: str | None = None) -> Any:
        """`canari ... --json` there."""
        environment = {"CANARI_URL": self.url, "CANARI_API_TOKEN": token or self.token, "COLUMNS": "200"}
        command = [*arguments, "--data-dir", str(self.data), "--json"]
        done = CliRunner(env=environment).invoke(app, command)
        if isinstance(done.exception, CanariError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture
def drift() -> ModelSpec:
    return load_spec(ROOT / "bentos" / "drift")


@pytest.fixture
def elsewhere(database: Database, drift: ModelSpec, tmp_path: Path) -> Iterator[Elsewhere]:
    versions.put_spec(database.engine, drift)
    (tmp_path / "keys").mkdir()
    key = ensure_signing_key(tmp_path / "keys")
    token, _ = issue(key, subject="ada", scopes=[Scope.ADMIN], lifetime=timedelta(hours=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "services.feedback", "--port", str(port)],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("CANARI_")},
            "CANARI_DATABASE_URL": database.app_url,
            "CANARI_DATA_DIR": str(tmp_path / "elsewhere"),
            "CANARI_KEYS_DIR": str(tmp_path / "keys"),
        },
        stderr=subprocess.PIPE,
    )
    made = Elsewhere(f"http://127.0.0.1:{port}", database, token, tmp_path / "data")
    until(lambda: answers(made.url), 60, lambda: f"it ended with {process.poll()}")
    yield made
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health").is_success
    except httpx.TransportError:
        return False
