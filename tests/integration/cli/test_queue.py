"""Reviewing users' inputs at the terminal: here and elsewhere the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from canari.blobs import FolderBlobs
from canari.cli import app
from canari.errors import CanariError
from canari.ids import new_id
from canari.spec_file import load_spec
from canari.store import feedback, versions
from canari.types import Feedback
from tests.conftest import ROOT, Database
from tests.integration.cli.conftest import Elsewhere
from tests.integration.store.queue_of import keep, photos, rows

Canari = Callable[..., Any]


def waiting(database: Database, data: Path) -> tuple[UUID, UUID, UUID]:
    """Three photos: one that somebody called wrong, one the model is torn on, and one like the evaluation set."""
    versions.put_spec(database.engine, load_spec(ROOT / "bentos" / "cats_dogs"))
    blobs = FolderBlobs(data / "blobs")
    first, second = (
        keep(database.engine, blobs, content, score=score)
        for content, score in zip(islice(photos(), 2), (0.9, 0.55), strict=True)
    )
    feedback.put(database.engine, Feedback(first, "cats_dogs", "visitor:bob", False, "dog", None))
    return first, second, keep(database.engine, blobs, next(photos(judged=True)), score=0.6)


def review(canari: Canari, database: Database, ids: tuple[UUID, UUID, UUID]) -> None:
    """What a person can do, and what they are told."""
    wrong, torn, judged = map(str, ids)
    found = canari("queue", "list", "cats_dogs")
    assert [one["prediction_id"] for one in found["inputs"]] == [wrong, torn, judged]
    assert found["inputs"][0]["feedback"][0]["label"] == "dog"
    assert canari("queue", "review", "cats_dogs", wrong, "--label", "dog") == {
        "prediction_id": wrong, "review": "relabelled", "label": "dog", "changed": True,
    }  # fmt: skip
    assert canari("queue", "review", "cats_dogs", torn, "--accept")["label"] == "cat"
    assert canari("queue", "review", "cats_dogs", torn, "--accept")["changed"] is False
    with pytest.raises(CanariError, match="judged on"):
        canari("queue", "review", "cats_dogs", judged, "--accept")
    assert canari("queue", "review", "cats_dogs", judged, "--refuse")["review"] == "refused"
    for words in ((), ("--accept", "--refuse"), ("--label", "dog", "--accept")):
        with pytest.raises(CanariError, match="say one thing of it"):
            canari("queue", "review", "cats_dogs", torn, *words)
    with pytest.raises(CanariError, match="keeps no input of the prediction"):
        canari("queue", "review", "cats_dogs", str(new_id()), "--accept")
    done = canari("queue", "list", "cats_dogs", "--review", "relabelled")
    assert [one["label"] for one in done["inputs"]] == ["dog"]
    assert done["counts"] == {"waiting": 0, "accepted": 1, "relabelled": 1, "refused": 1}
    assert done["labels"] == [
        {"label": "cat", "waiting": 0, "samples": 1},
        {"label": "dog", "waiting": 0, "samples": 1},
    ]
    assert len(rows(database.engine)) == 2


def test_inputs_are_reviewed_on_a_platform_elsewhere(elsewhere: Elsewhere, tmp_path: Path) -> None:
    ids = waiting(elsewhere.database, tmp_path / "elsewhere")
    review(elsewhere.canari, elsewhere.database, ids)
    assert {row.labelled_by for row in rows(elsewhere.database.engine)} == {"ada"}


def test_inputs_are_reviewed_on_this_machine(database: Database, tmp_path: Path) -> None:
    def canari(*arguments: str, as_json: bool = True) -> Any:
        flags = ["--json"] if as_json else []
        done = CliRunner(env={"CANARI_DATABASE_URL": database.owner_url, "COLUMNS": "120", "USER": "eve"}).invoke(
            app, [*arguments, "--data-dir", str(tmp_path), *flags]
        )
        if isinstance(done.exception, CanariError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if as_json else done.stdout

    ids = waiting(database, tmp_path)
    shown = canari("queue", "list", "cats_dogs", as_json=False)
    assert [line.split() for line in shown.splitlines()][1] == [str(ids[0]), "cat", "90%", "dog", "–"]
    assert "3 waiting, 0 accepted, 0 relabelled, 0 refused" in shown
    review(canari, database, ids)
    assert {row.labelled_by for row in rows(database.engine)} == {"eve (canari queue review)"}
    told = canari("queue", "review", "cats_dogs", str(ids[0]), "--label", "dog", as_json=False)
    assert told == f"{ids[0]} is corrected to dog, as before.\n"
