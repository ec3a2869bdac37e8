"""The command line against a platform elsewhere: the feedback API on a port, as a cluster's gateway leads to it."""

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

from canari.archive import pack
from canari.cli import app
from canari.errors import CanariError
from canari.ids import new_id
from canari.keys import ensure_signing_key
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import access, predictions, rollouts, samples, versions
from canari.tokens import Scope, issue
from canari.types import VersionState, manifest_digest
from tests.conftest import ROOT, Database, fresh_database
from tests.integration.bentos import packaged, write_package
from tests.integration.store.samples_of import prediction
from tests.platform import until

MANIFEST = {"model": "drift", "synthetic": True, "samples": [], "skipped": []}


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


@pytest.fixture
def here(postgres: Any, drift: ModelSpec, tmp_path: Path) -> Iterator[Database]:
    """A platform on this machine whose version 1 of drift is ready; its archive lies in the data folder."""
    with fresh_database(postgres) as database:
        digest = manifest_digest(MANIFEST)
        number = versions.allot(database.engine, drift, manifest_digest=digest, synthetic=True)
        samples.put_manifest(database.engine, digest, "drift", MANIFEST)
        artifact = tmp_path / "bento" / "src" / "artifact"
        artifact.mkdir(parents=True)
        (artifact / "spec.json").write_text(json.dumps(drift.document()))
        archive = pack(tmp_path / "bento", tmp_path / "data" / "archives")
        versions.mark_ready(database.engine, "drift", number, archive=archive, metrics={"accuracy": 0.875})
        yield database


def test_a_version_of_this_machine_is_pushed_deployed_promoted_and_rolled_back_elsewhere(
    elsewhere: Elsewhere, here: Database, drift: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_package(packaged(drift, tmp_path / "made"), tmp_path / "packages")
    assert elsewhere.canari("push", "drift", "--package", str(first))["version"] == 1
    assert elsewhere.canari("deploy", "drift", "1") == {"model": "drift", "version": 1, "weight": 100, "rollout": 1}
    monkeypatch.setenv("CANARI_DATABASE_URL", here.owner_url)
    pushed = [elsewhere.canari("push", "drift", "1") for _ in range(2)]
    assert [(p["version"], p["new"]) for p in pushed] == [(2, True), (2, False)]
    taken = versions.version(elsewhere.database.engine, "drift", 2)
    assert (taken.state, taken.synthetic, taken.metrics) == (VersionState.READY, True, {"accuracy": 0.875})
    assert versions.manifest(elsewhere.database.engine, "drift", 2) == MANIFEST
    assert elsewhere.canari("deploy", "drift", "2", "--weight", "20")["weight"] == 20
    assert elsewhere.canari("weights", "drift") == {"1": 80, "2": 20}
    assert elsewhere.canari("promote", "drift", "--reason", "it is right")["stable"] == 2
    elsewhere.canari("deploy", "drift", "1", "--weight", "5")
    assert elsewhere.canari("rollback", "drift")["stable"] == 2
    history = rollouts.history(elsewhere.database.engine, "drift")
    assert {row["actor"] for row in history} == {"ada"}
    assert "it is right" in {row["reason"] for row in history}
    listed = elsewhere.canari("versions", "drift")
    assert [(v["version"], v["state"], v["metrics"]["accuracy"]) for v in listed] == [
        (2, "ready", 0.875),
        (1, "ready", 0.9),
    ]
    [status] = elsewhere.canari("status")["models"]
    assert (status["name"], status["stable"], status["canary"]) == ("drift", 2, None)


def test_feedback_goes_elsewhere_too_and_faults_are_told_in_its_words(elsewhere: Elsewhere, tmp_path: Path) -> None:
    made = prediction(id=new_id(), subject="ada")
    predictions.append(elsewhere.database.engine, "drift", 1, [made])
    assert elsewhere.canari("feedback", "drift", str(made.id), "--right")["outcome"] == "created"
    row = tmp_path / "row.json"
    row.write_text('{"x1": 0, "x2": 1}')
    with pytest.raises(CanariError, match="503: No version of drift is ready yet"):
        elsewhere.canari("predict", "drift", str(row))
    with pytest.raises(CanariError, match="401: The token is not one of this platform's"):
        elsewhere.canari("versions", "drift", token="nonsense")
    with pytest.raises(CanariError, match="409: No rollout of drift is open"):
        elsewhere.canari("promote", "drift")


def test_logging_in_gives_a_token_that_commands_take(elsewhere: Elsewhere) -> None:
    access.put_account(elsewhere.database.engine, "eve", "correct horse", scopes=[Scope.OPERATE])
    given = elsewhere.canari("login", "--name", "eve", "--password", "correct horse")
    assert given["scopes"] == ["operate"]
    assert elsewhere.canari("versions", "drift", token=given["token"]) == []
    with pytest.raises(CanariError, match="401: The name or the password is wrong"):
        elsewhere.canari("login", "--name", "eve", "--password", "wrong horse")


def test_what_cannot_be_pushed_is_told(elsewhere: Elsewhere, here: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARI_DATABASE_URL", here.owner_url)
    with pytest.raises(CanariError, match="a version's number, or --package DIR"):
        elsewhere.canari("push", "drift")
    with pytest.raises(CanariError, match="drift has no version 9; its versions: 1"):
        elsewhere.canari("push", "drift", "9")
    for file in (elsewhere.data / "archives").iterdir():
        file.unlink()
    with pytest.raises(CanariError, match=r"the archive .* is missing"):
        elsewhere.canari("push", "drift", "1")


def test_an_address_where_nothing_answers_is_told(tmp_path: Path) -> None:
    nowhere = Elsewhere("http://127.0.0.1:1", None, "", tmp_path)  # type: ignore[arg-type] # no database is asked
    with pytest.raises(CanariError, match=r"http://127\.0\.0\.1:1 does not answer"):
        nowhere.canari("status")


def test_promoting_and_rolling_back_work_on_this_machine_too(
    here: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drift: ModelSpec
) -> None:
    monkeypatch.setenv("CANARI_DATABASE_URL", here.owner_url)
    number = versions.allot(here.engine, drift, manifest_digest="n", synthetic=True)
    versions.mark_ready(here.engine, "drift", number, archive="c" * 64, metrics={})

    def canari(*arguments: str) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path / "data"), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    canari("deploy", "drift", "1")
    canari("deploy", "drift", "2", "--weight", "10")
    assert canari("rollback", "drift", "--reason", "it errs") == {"model": "drift", "stable": 1}
    canari("deploy", "drift", "2", "--weight", "10")
    assert canari("promote", "drift") == {"model": "drift", "stable": 2}
    assert "canari rollback" in {
        row["actor"].partition("(")[2].rstrip(")") for row in rollouts.history(here.engine, "drift")
    }
