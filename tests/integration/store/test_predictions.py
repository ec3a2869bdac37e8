from uuid import uuid4

import psycopg2
import pytest

from canari.ids import new_id
from canari.store import feedback, predictions
from canari.types import Feedback, RequestKind
from tests.conftest import Database
from tests.integration.store.samples_of import RECORDER, prediction


def test_a_prediction_comes_back_as_it_was_recorded(database: Database) -> None:
    answered = prediction(1, subject="tab\there", label="back\\slash\nand line", request_id="é 🐱")
    refused = prediction(
        2, kind=RequestKind.DIRECT, status=415, label=None, score=None, scores=None, reason="unsupported-media-type"
    )
    assert predictions.append(database.engine, "cats_dogs", 3, [answered, refused]) == (2, 0)
    for sent in (answered, refused):
        found = predictions.get(database.engine, "cats_dogs", sent.id)
        assert found is not None
        recorded, votes = found
        assert (recorded.model, recorded.version, recorded.prediction, votes) == ("cats_dogs", 3, sent, [])


def test_rows_sent_twice_are_kept_once(database: Database) -> None:
    rows = [prediction(seq) for seq in range(1, 6)]
    assert predictions.append(database.engine, "m", 1, rows[:3]) == (3, 0)
    assert predictions.append(database.engine, "m", 1, rows) == (2, 3)
    assert predictions.append(database.engine, "m", 1, [rows[0], rows[0]]) == (0, 2)
    assert predictions.append(database.engine, "m", 1, []) == (0, 0)
    assert predictions.losses(database.engine, "m") == {1: 0}


def test_a_hole_in_a_recorders_count_is_a_known_loss(database: Database) -> None:
    predictions.append(database.engine, "m", 1, [prediction(1), prediction(2), prediction(5)])
    predictions.append(database.engine, "m", 1, [prediction(1, recorder=uuid4())])
    predictions.append(database.engine, "m", 2, [prediction(2, recorder=uuid4())])
    assert predictions.losses(database.engine, "m") == {1: 2, 2: 1}
    predictions.append(database.engine, "m", 1, [prediction(3)])
    assert predictions.losses(database.engine, "m")[1] == 1
    assert predictions.losses(database.engine, "other") == {}


def test_a_version_cannot_touch_the_count_of_anothers_recorder(database: Database) -> None:
    predictions.append(database.engine, "m", 1, [prediction(1)])
    predictions.append(database.engine, "m", 2, [prediction(1_000, recorder=RECORDER)])
    assert predictions.losses(database.engine, "m") == {1: 0}


def test_a_value_postgresql_cannot_hold_refuses_the_batch_and_leaves_the_connection_good(database: Database) -> None:
    rows = [prediction(1), prediction(2, label="nul\0")]
    with pytest.raises(psycopg2.DataError):
        predictions.append(database.engine, "m", 1, rows)
    assert predictions.page(database.engine, "m") == []
    assert predictions.append(database.engine, "m", 1, rows[:1]) == (1, 0)


def test_a_prediction_is_found_under_its_own_model_only(database: Database) -> None:
    row = prediction()
    predictions.append(database.engine, "m", 1, [row])
    assert predictions.get(database.engine, "other", row.id) is None
    assert predictions.get(database.engine, "m", new_id()) is None
    assert predictions.model_of(database.engine, row.id) == "m"
    assert predictions.model_of(database.engine, new_id()) is None


def test_a_prediction_comes_with_its_feedback_first_vote_first(database: Database) -> None:
    row = prediction()
    predictions.append(database.engine, "m", 1, [row])
    for subject, right in (("ada", False), ("bob", True)):
        feedback.put(database.engine, Feedback(row.id, "m", subject, right, None, "why"))
    found = predictions.get(database.engine, "m", row.id)
    assert found is not None
    assert [(v.subject, v.right, v.comment) for v in found[1]] == [("ada", False, "why"), ("bob", True, "why")]


def test_pages_go_back_in_time_without_gap_or_overlap(database: Database) -> None:
    rows = [prediction(seq) for seq in range(1, 8)]
    predictions.append(database.engine, "m", 1, rows)
    predictions.append(database.engine, "other", 1, [prediction(1, recorder=uuid4())])
    seen = []
    before = None
    while batch := predictions.page(database.engine, "m", before=before, limit=3):
        seen += [recorded.prediction.seq for recorded in batch]
        before = batch[-1].prediction.id
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_pages_are_of_one_version_or_one_subject_where_asked(database: Database) -> None:
    predictions.append(database.engine, "m", 1, [prediction(1), prediction(2, subject="visitor:bob")])
    predictions.append(database.engine, "m", 2, [prediction(1, recorder=uuid4())])
    of_version = predictions.page(database.engine, "m", version=1)
    of_subject = predictions.page(database.engine, "m", subject="visitor:ada")
    assert [(r.version, r.prediction.seq) for r in of_version] == [(1, 2), (1, 1)]
    assert [(r.version, r.prediction.subject) for r in of_subject] == [(2, "visitor:ada"), (1, "visitor:ada")]
