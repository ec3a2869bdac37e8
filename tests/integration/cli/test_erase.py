"""`canari erase`, on this machine and on a platform elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError
from canari.keys import ensure_signing_key
from canari.store import predictions
from tests.conftest import Database
from tests.integration.cli.conftest import Elsewhere
from tests.integration.store.samples_of import prediction

ADA = "visitor:[ada]"


def left_by(database: Database, subject: str) -> None:
    predictions.append(database.engine, "drift", 1, [prediction(subject=subject)])


class Here:
    """`canari erase ...` over a database it is told of."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        (folder / "keys").mkdir(parents=True)
        ensure_signing_key(folder / "keys")

    def __call__(self, *arguments: str) -> str:
        environment = {"CANARI_DATABASE_URL": self.database.owner_url, "COLUMNS": "200"}
        done = CliRunner(env=environment).invoke(app, ["erase", *arguments, "--data-dir", str(self.folder)])
        if isinstance(done.exception, CanariError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture
def here(database: Database, tmp_path: Path) -> Here:
    return Here(database, tmp_path / "data")


def test_a_person_is_erased_and_the_certificate_checked(here: Here, tmp_path: Path) -> None:
    left_by(here.database, ADA)
    file = tmp_path / "certificate.json"
    said = here("--subject", ADA, "--reason", "letter [12]", "--rewrite", "--out", str(file))
    assert "1 predictions" in said
    assert predictions.page(here.database.engine, "drift", subject=ADA) == []
    held = json.loads(file.read_text())
    assert (held["reason"], held["left_to_autovacuum"]) == ("letter [12]", [])
    assert "Genuine." in here("--verify", str(file), "--subject", ADA)
    with pytest.raises(CanariError, match="it is not of somebody else"):
        here("--verify", str(file), "--subject", "somebody else")
    file.write_text(json.dumps({**held, "counts": {}}))
    with pytest.raises(CanariError, match="it was changed"):
        here("--verify", str(file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "whose data is to go"),
        (("--subject", "erased"), "is no subject"),
        (("--verify", "no/such/file"), "is no certificate"),
        (("--subject", ADA, "--url", "http://127.0.0.1:1", "--rewrite"), "leave --url out"),
    ],
)
def test_what_is_wrong_is_told(here: Here, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CanariError, match=message):
        here(*arguments)


def test_a_person_is_erased_on_a_platform_elsewhere(elsewhere: Elsewhere) -> None:
    left_by(elsewhere.database, ADA)
    certificate: dict[str, Any] = elsewhere.canari("erase", "--subject", ADA, "--access")
    assert certificate["counts"] == {"predictions": 1}
    assert certificate["access"] is True
    assert predictions.page(elsewhere.database.engine, "drift", subject=ADA) == []
