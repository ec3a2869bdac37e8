"""`canari data`: a team's samples, to a platform elsewhere and on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError
from canari.store import samples
from canari.types import Origin
from tests.integration.cli.conftest import Elsewhere


def rows(folder: Path) -> Path:
    for number in range(12):
        file = folder / ("above", "below")[number % 2] / f"{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"x1": number, "x2": 1}))
    (folder / "above" / "broken.json").write_text("{")
    return folder


def test_a_folder_is_sent_elsewhere_counted_and_sent_again_without_doubling(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rows(tmp_path / "rows")
    first = elsewhere.canari("data", "add", "drift", str(folder))
    assert (first["found"], first["added"], list(first["skipped"])) == (12, 12, ["above/broken.json"])
    again = elsewhere.canari("data", "add", "drift", str(folder))
    assert (again["found"], again["added"]) == (12, 0)
    assert {one.origin for one in samples.all(elsewhere.database.engine, "drift")} == {Origin.TEAM}
    assert (elsewhere.data.parent / "elsewhere" / "blobs" / "samples" / "drift").is_dir()
    listed = elsewhere.canari("data", "list", "drift")
    assert (listed["total"], listed["new"], listed["stable"], listed["threshold"]) == (12, 12, None, None)
    monkeypatch.setenv("CANARI_DATABASE_URL", elsewhere.database.owner_url)
    here = CliRunner().invoke(app, ["data", "list", "drift", "--data-dir", str(tmp_path / "data"), "--json"])
    assert {**json.loads(here.stdout), "newest": listed["newest"]} == listed
    told = CliRunner().invoke(app, ["data", "list", "drift", "--data-dir", str(tmp_path / "data")])
    assert told.stdout.splitlines()[-1] == "12 new"


def test_what_cannot_be_sent_is_told(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="is not a folder"):
        elsewhere.canari("data", "add", "drift", str(tmp_path / "nowhere"))
    with pytest.raises(CanariError, match="404: There is no model 'lime'"):
        elsewhere.canari("data", "add", "lime", str(rows(tmp_path / "rows")))
