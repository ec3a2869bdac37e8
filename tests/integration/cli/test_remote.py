"""The command line against a platform elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from canari.archive import pack
from canari.cli import app
from canari.errors import CanariError
from canari.ids import new_id
from canari.policy import Verdict
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import access, predictions, rollouts, samples, versions
from canari.tokens import Scope
from canari.types import RequestKind, VersionState, manifest_digest
from tests.conftest import ROOT, Database, fresh_database
from tests.integration.bentos import packaged, write_package
from tests.integration.cli.conftest import Elsewhere
from tests.integration.played import GOOD, Played
from tests.integration.store.samples_of import prediction

MANIFEST = {"model": "drift", "synthetic": True, "samples": [], "skipped": []}


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


def ready(database: Database, spec: ModelSpec, count: int) -> None:
    for _ in range(count):
        number = versions.allot(database.engine, spec, manifest_digest="n", synthetic=True)
        versions.mark_ready(database.engine, spec.name, number, archive=f"{number:064d}", metrics={})
    rollouts.deploy(database.engine, spec.name, 1, weight=100, actor="a test")


def disagreed(database: Database, rollout: int) -> None:
    """One request of drift that the shadow of a rollout, version 2, answered otherwise than version 1."""
    answers: list[tuple[int, dict[str, Any]]] = [(1, {}), (2, {"label": "dog", "kind": RequestKind.SHADOW})]
    for version, said in answers:
        made = prediction(rollout=rollout, recorder=uuid4(), request_id="r", **said)
        predictions.append(database.engine, "drift", version, [made])


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_versions_are_judged_by_the_same_commands_here_and_elsewhere(
    where: str, elsewhere: Elsewhere, here: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drift: ModelSpec
) -> None:
    monkeypatch.setenv("CANARI_DATABASE_URL", here.owner_url)
    shadowed = ModelSpec.model_validate({**drift.document(), "canary": {"steps": ["shadow", 5, 50]}})
    ready(elsewhere.database, shadowed, 3)
    ready(here, shadowed, 2)

    def canari(act: str, *arguments: str) -> Any:
        if where == "elsewhere":
            return elsewhere.canari("rollout", act, "drift", *arguments)
        done = CliRunner().invoke(app, ["rollout", act, "drift", *arguments, "--data-dir", str(tmp_path), "--json"])
        if isinstance(done.exception, CanariError):
            raise done.exception
        return json.loads(done.stdout)

    opened = canari("start", "2", "--reason", "better in the snow")
    assert (opened["state"], opened["canary"], opened["weight"]) == ("open", 2, 0)
    assert set(opened) == {"model", "version", "rollout", "state", "canary", "weight", "expected"}
    assert opened["expected"]["sentence"].startswith("At today's 0 requests and 0 votes a day there will be no verdict")
    disagreed(elsewhere.database if where == "elsewhere" else here, opened["rollout"])
    [differing] = canari("disagreements", str(opened["rollout"]))
    assert (differing["request_id"], differing["stable"]["label"], differing["shadow"]["label"]) == ("r", "cat", "dog")
    assert canari("disagreements", str(opened["rollout"]), "--last", "1") == [differing]
    queued = canari("start", "3")
    assert (queued["state"], queued["canary"], queued["rollout"]) == ("queued", 2, opened["rollout"] + 1)
    for act, state in (("pause", "open"), ("resume", "open"), ("abort", "aborted")):
        assert canari(act, "--reason", "a trial") == {"model": "drift", "rollout": opened["rollout"], "state": state}
    assert canari("promote") == {"model": "drift", "stable": 3}
    assert canari("rollback") == {"model": "drift", "stable": 1}
    with pytest.raises(CanariError, match="o rollout of drift is open: there is nothing to abort"):
        canari("abort")
    listed = canari("list")
    assert [(row["canary"], row["state"], row["mode"]) for row in listed] == [
        (3, "rolled_back", "judged"),
        (2, "aborted", "judged"),
        (1, "promoted", "manual"),
    ]
    assert canari("list", "--state", "aborted", "--state", "open", "--last", "1") == [listed[1]]
    assert canari("list", "--version", "3") == [listed[0]]
    shown = canari("show", str(opened["rollout"]))
    assert {name: shown[name] for name in listed[1] if name in shown} == listed[1]
    assert (shown["steps"], shown["evidence"], shown["expected"]) == (["shadow", 5, 50], [], None)
    assert [(made["action"], made["reason"]) for made in shown["decisions"]] == [
        *(("start", "better in the snow"), ("pause", "a trial"), ("resume", "a trial"), ("aborted", "a trial"))
    ]
    with pytest.raises(CanariError, match="no rollout 999"):
        canari("show", "999")


def test_people_read_what_a_rollout_does(here: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARI_DATABASE_URL", here.owner_url)
    canary = {"steps": ["shadow", 5, 50], "deadline": "3d"}
    spec = ModelSpec.model_validate({**load_spec(ROOT / "bentos" / "drift").document(), "canary": canary})

    def canari(act: str, *arguments: str) -> str:
        runner = CliRunner(env={"COLUMNS": "200", "USER": "eve"})
        done = runner.invoke(app, ["rollout", act, "drift", *arguments, "--data-dir", str(tmp_path)])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert canari("start", "1").splitlines() == ["Version 1 is the first of drift and gets all traffic."]
    for _ in range(2):
        number = versions.allot(here.engine, spec, manifest_digest="n", synthetic=True)
        versions.mark_ready(here.engine, "drift", number, archive=f"{number:064d}", metrics={})
    began = canari("start", "2")
    assert "version 2 is judged from now on, as a shadow that gets copies.\nAt today's 0 requests" in began
    assert "version 3 waits while version 2 is tried." in canari("start", "3")
    opened = rollouts.desired(here.engine)["drift"].rollout
    assert opened is not None
    with here.engine.begin() as connection:
        row = text("INSERT INTO evidence VALUES (:id, 1, 0, 2, :metric, 40, 3)")
        connection.execute(row, [{"id": opened.id, "metric": metric} for metric in ("errors", "agreement")])
    disagreed(here, opened.id)
    assert f"Rollout {opened.id} of drift is paused." in canari("pause", "--reason", "an incident [/of] today")
    assert "paused" in canari("list")
    shown = canari("show", str(opened.id))
    for line in (
        "version 2 against version 1",
        "paused, judged, 0 % of the traffic",
        "steps: shadow, 5, 50; deadline 20",
        "as a shadow it answered 40 requests, 3 of them otherwise than stable (7.5 %)",
    ):
        assert line in shown
    assert ["errors", "shadow", "2", "40", "3"] in [line.split() for line in shown.splitlines()]
    assert "an incident [/of] today" in shown
    assert [line.split()[2] for line in shown.splitlines() if "eve (canari" in line] == ["start", "pause"]
    [differing] = canari("disagreements", str(opened.id)).splitlines()[1:]
    assert "cat 0.750  dog 0.750" in differing
    assert "goes on" in canari("resume")
    assert "is aborted" in canari("abort")


def test_a_rollout_elsewhere_is_watched_and_judged_again(elsewhere: Elsewhere) -> None:
    played = Played(elsewhere.database.engine)
    played.look(**GOOD)
    watched = elsewhere.canari("rollout", "watch", "drift", "--once")
    assert (watched["rollout"]["id"], watched["judgement"]["verdict"]) == (played.number, "hold")
    assert watched["metrics"][0]["newest"]["canary_n"] == 40
    assert elsewhere.canari("rollout", "watch", "drift", str(played.number), "--once")["rollout"]["state"] == "open"
    played.until(Verdict.ADVANCE, **GOOD)
    found = elsewhere.canari("rollout", "replay", "drift", str(played.number))
    assert (found["same"], [one["recomputed"] for one in found["compared"]]) == (True, [None, "advance"])
    assert elsewhere.canari("rollout", "show", "drift", str(played.number))["judgement"]["verdict"] == "advance"
    with pytest.raises(CanariError, match="404: There is no rollout 999"):
        elsewhere.canari("rollout", "watch", "drift", "999", "--once")
