from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, text

from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import evaluations, feedback, predictions, tables, versions
from canari.store.engine import connect
from canari.types import Feedback, Prediction, RequestKind
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import id_at, prediction

# What the tests write must have arrived before the window ends, at whatever time of a long run.
UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=6)
SINCE = UNTIL - timedelta(hours=24)


@pytest.fixture
def spec(swept_database: Database) -> ModelSpec:
    found = load_spec(ROOT / "bentos" / "cats_dogs")
    for _ in range(2):
        versions.allot(swept_database.engine, found, manifest_digest="m", synthetic=True)
    return found


def made(seq: int, hours_ago: float, **changes: object) -> Prediction:
    return prediction(seq, **{"id": id_at(UNTIL - timedelta(hours=hours_ago)), **changes})


def vote(engine: Engine, row: Prediction, right: bool, label: str | None = None, subject: str = "ada") -> None:
    feedback.put(engine, Feedback(row.id, "cats_dogs", subject, right=right, label=label, comment=None))


@pytest.mark.usefixtures("spec")
def test_a_versions_window_is_counted_and_nothing_outside_of_it(swept_database: Database) -> None:
    engine = swept_database.engine
    inside = [
        made(1, 1, label="cat", subject="ada"),
        made(2, 2, label="cat"),
        made(3, 3, label="dog"),
        made(5, 23.9, label="cat"),
    ]
    others = [
        made(6, 1, kind=RequestKind.SHADOW),
        made(7, 1, status=415, label=None, reason="unsupported-media-type"),
        made(8, 25),
    ]
    predictions.append(engine, "cats_dogs", 1, [*inside, *others])
    predictions.append(engine, "cats_dogs", 2, [prediction(1, recorder=uuid4(), id=id_at(UNTIL - timedelta(hours=1)))])
    vote(engine, inside[0], right=False, label="dog", subject="eve")
    vote(engine, inside[0], right=True, label="cat", subject="ada")
    vote(engine, inside[1], right=False, label="dog")
    vote(engine, inside[2], right=True)
    vote(engine, others[2], right=False)
    found = evaluations.measure(engine, "cats_dogs", 1, SINCE, UNTIL)
    assert (found.predictions, found.refused, found.voted, found.satisfied) == (4, 1, 3, 2)
    assert (found.labelled, found.correct, found.accuracy) == (2, 1, 0.5)
    assert found.participation == 0.75
    assert found.satisfaction == pytest.approx(2 / 3)
    assert found.lost == 1
    assert found.answer_shares == {"cat": 0.75, "dog": 0.25}


@pytest.mark.usefixtures("spec")
def test_a_window_without_predictions_has_no_shares(swept_database: Database) -> None:
    found = evaluations.measure(swept_database.engine, "cats_dogs", 1, SINCE, UNTIL)
    assert (found.predictions, found.voted, found.lost, found.answers) == (0, 0, 0, {})
    assert (found.participation, found.satisfaction, found.accuracy, found.answer_shares) == (None, None, None, {})


@pytest.mark.usefixtures("spec")
def test_the_same_window_again_replaces_its_row_and_the_newest_window_is_the_latest(swept_database: Database) -> None:
    engine = swept_database.engine
    row = made(1, 1)
    predictions.append(engine, "cats_dogs", 1, [row])
    evaluations.keep(engine, evaluations.measure(engine, "cats_dogs", 1, SINCE, UNTIL))
    vote(engine, row, right=True)
    evaluations.keep(engine, evaluations.measure(engine, "cats_dogs", 1, SINCE, UNTIL))
    earlier = evaluations.measure(engine, "cats_dogs", 1, SINCE - timedelta(days=1), UNTIL - timedelta(days=1))
    evaluations.keep(engine, earlier)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(tables.evaluations)).scalar_one() == 2
    newest = evaluations.latest(engine)
    assert list(newest) == [("cats_dogs", 1)]
    assert (newest["cats_dogs", 1].until, newest["cats_dogs", 1].satisfied) == (UNTIL, 1)
    assert newest["cats_dogs", 1] == evaluations.measure(engine, "cats_dogs", 1, SINCE, UNTIL)


def test_dashboards_may_read_evaluations(swept_database: Database) -> None:
    reader = connect(swept_database.read_url, pool=1)
    with reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM evaluations")).scalar_one() == 0
    reader.dispose()
