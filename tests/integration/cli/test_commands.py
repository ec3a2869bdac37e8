"""The command line where nothing runs: over a database it is told of, and over one it starts for itself."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from canari.cli import app
from canari.cli.common import local_time
from canari.errors import CanariError
from canari.keys import ensure_signing_key
from canari.tokens import Verifier, public_pem
from tests.conftest import ROOT, Database


class Canari:
    """`canari ...` in this process; a fault that a person can mend is returned as its message."""

    def __init__(self, data: Path, database_url: str) -> None:
        self.data = data
        self._variables = {"CANARI_DATABASE_URL": database_url, "COLUMNS": "200"}

    def __call__(self, *arguments: str, status: int = 0) -> str:
        done = CliRunner(env=self._variables).invoke(app, [*arguments, "--data-dir", str(self.data)])
        if isinstance(done.exception, CanariError):
            assert status == 1
            return str(done.exception)
        assert done.exit_code == status, done.output
        return done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def canari(tmp_path: Path, database: Database) -> Canari:
    return Canari(tmp_path / "data", database.owner_url)


def test_commands_about_a_running_platform_say_that_none_runs(canari: Canari, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"x")
    for arguments in (("status",), ("weights", "drift"), ("predict", "drift", str(photo))):
        assert "start it with `canari up`" in canari(*arguments, status=1)
    assert "nothing runs on" in canari("down", status=1)


def test_versions_can_be_listed_though_nothing_runs(canari: Canari) -> None:
    assert canari.json("versions", "drift") == []
    assert "VERSION" in canari("versions", "drift")
    assert "the models there are: cats_dogs, drift" in canari("versions", "horses", status=1)


def test_lines_of_a_log_are_printed_as_they_are(canari: Canari) -> None:
    folder = canari.data / "logs"
    folder.mkdir(parents=True)
    (folder / "portal.log").write_text("[info] GET /x [/y] :smile:\n")
    assert canari("logs", "portal") == "[info] GET /x [/y] :smile:\n"


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    canari = Canari(tmp_path, "postgresql://canari@127.0.0.1:1/canari")
    assert "the database does not answer" in canari("versions", "drift", status=1)


def test_moments_are_told_by_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    try:
        assert local_time("2026-01-15T09:40:00Z") == "2026-01-15 10:40"
        assert local_time(datetime(2026, 7, 15, 9, 40)) == "2026-07-15 11:40"  # noqa: DTZ001 - as a database may give it
    finally:
        monkeypatch.undo()
        time.tzset()


def test_tokens_are_given_out_listed_and_revoked(canari: Canari) -> None:
    assert "start the platform once" in canari("token", "create", "ada", "--scope", "predict", status=1)
    (canari.data / "keys").mkdir(parents=True)
    key = ensure_signing_key(canari.data / "keys")
    made = canari.json("token", "create", "ada", "--scope", "predict", "--scope", "feedback", "--model", "drift")
    identity = Verifier(public_pem(key)).verify(made["token"])
    assert identity.subject == "ada"
    assert identity.scopes == {"feedback", "predict"}
    assert identity.models == {"drift"}
    assert [t["state"] for t in canari.json("token", "list")] == ["good"]
    canari("token", "revoke", made["id"])
    assert [t["state"] for t in canari.json("token", "list")] == ["revoked"]
    assert "no token has the id" in canari("token", "revoke", "none", status=1)
    assert "bentos' own" in canari("token", "create", "eve", "--scope", "record", status=1)


def test_accounts_are_made_and_disabled(canari: Canari) -> None:
    assert canari.json("account", "create", "ada", "--scope", "operate", "--password", "long enough") == {
        "account": "ada"
    }
    assert "needs 8 or more" in canari("account", "create", "bob", "--scope", "predict", "--password", "x", status=1)
    canari("account", "disable", "ada")
    assert "there is no account" in canari("account", "disable", "eve", status=1)


def test_a_version_that_is_not_there_cannot_be_deployed(canari: Canari) -> None:
    assert "no model 'drift'" in canari("deploy", "drift", "1", status=1)


def test_a_specification_is_checked_and_its_schema_printed(canari: Canari, tmp_path: Path) -> None:
    assert canari.json("spec", "check", "bentos/cats_dogs")["name"] == "cats_dogs"
    (tmp_path / "model.yaml").write_text("name: mine\n")
    assert "model.yaml:1: title: this field is required" in canari("spec", "check", str(tmp_path), status=1)
    assert json.loads(canari("spec", "schema"))["title"] == "ModelSpec"


def shell(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CANARI_")}
    return subprocess.run(
        [sys.executable, "-m", "canari.cli", *arguments, "--data-dir", str(data)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_command_starts_its_own_database_and_leaves_nothing_running(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o711)
    done = shell(tmp_path / "data", "versions", "drift", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])] == []
    logs = json.loads(shell(tmp_path / "data", "logs", "postgres", "-n", "2", "--json").stdout)
    assert len(logs["postgres"]) == 2
    assert "those there are: postgres" in shell(tmp_path / "data", "logs", "envoy").stderr


def test_a_busy_port_is_refused_with_its_number(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = shell(tmp_path, "up", "--port", str(port))
        assert done.returncode == 1
        assert f"port {port} of 127.0.0.1 is not free" in " ".join(done.stderr.split())
