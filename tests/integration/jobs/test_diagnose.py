"""Where people say wrong, found among real rows."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from canari.diagnosis import Dimension
from canari.errors import CanariError
from canari.measures import Measure, Reference
from canari.spec_file import load_spec
from canari.store import feedback, predictions, references, rollouts, versions
from canari.types import Feedback, Prediction
from services.jobs.diagnose import diagnose, stable
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import id_at, prediction

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(days=2)
DARK = 0


@pytest.fixture
def engine(swept_database: Database) -> Engine:
    """cats_dogs with a stable version 1, whose reference measures brightness and sharpness."""
    found, spec = swept_database.engine, load_spec(ROOT / "bentos" / "cats_dogs")
    number = versions.allot(found, spec, manifest_digest="m", synthetic=True)
    versions.mark_ready(found, "cats_dogs", number, archive="a" * 64, metrics={})
    rollouts.deploy(found, "cats_dogs", number, weight=100, actor="a test")
    edges, counts = tuple(float(n) for n in range(10, 100, 10)), (*(10,) * 10, 0)
    measured = (Measure("brightness", edges, counts), Measure("sharpness", edges, counts))
    references.put(found, "cats_dogs", number, Reference("pixels", measured, {"cat": 50, "dog": 50}))
    return found


def say(engine: Engine, *, wrong_in_the_dark: float, wrong: float, votes: int = 400) -> list[Prediction]:
    """Votes on photos of which every fifth is dark."""
    random = Random(1)
    made = []
    for n in range(votes):
        dark = n % 5 == 0
        bins = (random.choice((0, 1)) if dark else random.randrange(2, 10), random.randrange(10))
        row = prediction(
            n, recorder=uuid4(), id=id_at(NOW - timedelta(minutes=random.randrange(2000))), bins=bins,
            label=random.choice(("cat", "dog")), score=random.random(), input_bytes=random.randrange(9_000, 900_000),
        )  # fmt: skip
        made.append(row)
    predictions.append(engine, "cats_dogs", 1, made)
    for n, row in enumerate(made):
        right = random.random() >= (wrong_in_the_dark if n % 5 == DARK else wrong)
        truth = row.label if right else {"cat": "dog", "dog": "cat"}[str(row.label)]
        feedback.put(engine, Feedback(row.id, "cats_dogs", row.subject, right, truth, "a comment of mine"))
    return made


def test_photos_that_look_alike_and_go_wrong_are_found(engine: Engine) -> None:
    say(engine, wrong_in_the_dark=0.8, wrong=0.1)
    found = diagnose(engine, "cats_dogs", 1, SINCE)
    assert found.votes == 400
    first = found.findings[0]
    assert (first.slice.dimension, first.slice.part, first.slice.name) == (Dimension.MEASURE, "brightness", "under 20")
    assert first.found
    assert found.sentences[0].startswith("Where brightness is under 20, ")
    assert [one for one in found.findings if one.found and one.slice.part == "sharpness"] == []
    assert {one.slice.dimension for one in found.findings} >= set(Dimension) - {Dimension.VERSION}


def test_where_votes_fall_alike_everywhere_it_says_so(engine: Engine) -> None:
    say(engine, wrong_in_the_dark=0.3, wrong=0.3)
    [sentence] = diagnose(engine, "cats_dogs", 1, SINCE).sentences
    assert "none of" in sentence
    assert "about everywhere" in sentence


def test_a_version_that_does_worse_than_the_others_is_told(engine: Engine) -> None:
    say(engine, wrong_in_the_dark=0.6, wrong=0.6, votes=200)
    other = [prediction(n, recorder=uuid4(), id=id_at(NOW - timedelta(hours=1))) for n in range(200)]
    predictions.append(engine, "cats_dogs", 2, other)
    for row in other:
        feedback.put(engine, Feedback(row.id, "cats_dogs", row.subject, right=True, label=None, comment=None))
    first = diagnose(engine, "cats_dogs", 1, SINCE).findings[0]
    assert (first.slice.dimension, first.elsewhere) == (Dimension.VERSION, 0.0)


def test_too_few_votes_say_so(engine: Engine) -> None:
    say(engine, wrong_in_the_dark=1, wrong=1, votes=5)
    found = diagnose(engine, "cats_dogs", 1, SINCE)
    assert found.sentences == ("5 votes on version 1 are too few to see what they have in common: it takes 20",)
    assert found.findings == ()


def test_the_surest_wrong_answers_come_first_and_inputs_only_where_their_sender_agreed(engine: Engine) -> None:
    rows = say(engine, wrong_in_the_dark=1, wrong=1, votes=60)
    surest = sorted(rows, key=lambda row: -(row.score or 0))
    for row, consented, hours in ((surest[0], True, 1), (surest[1], False, 1), (surest[2], True, -1)):
        keep(engine, row.id, consented=consented, until=NOW + timedelta(hours=hours))
    found = diagnose(engine, "cats_dogs", 1, SINCE)
    assert [one.prediction_id for one in found.worst[:3]] == [row.id for row in surest[:3]]
    assert [one.kept for one in found.worst[:3]] == [True, False, False]
    assert {(one.answer, one.truth) for one in found.confused} == {("cat", "dog"), ("dog", "cat")}
    assert sum(one.n for one in found.confused) == 60


def keep(engine: Engine, about: UUID, *, consented: bool, until: datetime) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO inputs (model, prediction_id, version, sha256, subject, media_type, bytes, consented, "
                "keep_until) VALUES ('cats_dogs', :id, 1, 'x', 'ada', 'image/jpeg', 1, :consented, :until)"
            ),
            {"id": about, "consented": consented, "until": until},
        )


def test_the_command_prints_it_and_writes_a_report_of_ids_alone(
    engine: Engine, swept_database: Database, tmp_path: Path
) -> None:
    rows = say(engine, wrong_in_the_dark=0.9, wrong=0.1)
    environment = {
        "CANARI_DATABASE_URL": swept_database.app_url,
        "CANARI_LINEAGE_URL": f"postgresql://nobody@/none?host={tmp_path}",
        "CANARI_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "services.jobs", "diagnose", "cats_dogs"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("Where brightness is under 20, ")
    page = Path(last.removeprefix("report: ")).read_text()
    assert "Where people say wrong more than elsewhere" in page
    assert any(str(row.id) in page for row in rows)
    assert "comment of mine" not in page
    assert "visitor:ada" not in page
    as_json = subprocess.run([*command, "--json"], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert json.loads(as_json.stdout)["sentences"][0] == first


def test_a_model_without_a_stable_version_asks_for_one(engine: Engine) -> None:
    assert stable(engine, "cats_dogs") == 1
    versions.put_spec(engine, load_spec(ROOT / "bentos" / "drift"))
    with pytest.raises(CanariError, match="drift has no stable version yet: name one with --version"):
        stable(engine, "drift")
    with pytest.raises(CanariError, match="there is no model 'birds'"):
        stable(engine, "birds")
