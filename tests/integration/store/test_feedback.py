from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from canari.ids import new_id
from canari.store import feedback, predictions
from canari.store.feedback import Summary
from canari.types import Feedback, RequestKind
from tests.conftest import Database
from tests.integration.store.samples_of import id_at, prediction

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


def vote(prediction_id: UUID, subject: str = "visitor:ada", **changes: object) -> Feedback:
    values: dict[str, object] = {"right": True, "label": None, "comment": None, **changes}
    return Feedback(prediction_id=prediction_id, model="m", subject=subject, **values)  # type: ignore[arg-type]


def test_the_same_vote_twice_is_one_row_and_a_changed_mind_keeps_the_first_answer(database: Database) -> None:
    about = new_id()
    assert feedback.put(database.engine, vote(about)) == "created"
    assert feedback.put(database.engine, vote(about)) == "same"
    assert feedback.put(database.engine, vote(about, right=False, label="dog")) == "changed"
    assert feedback.put(database.engine, vote(about, right=False, label="dog")) == "same"
    assert feedback.put(database.engine, vote(about, right=False, label=None)) == "changed"
    with database.engine.connect() as connection:
        rows = connection.execute(text('SELECT "right", first_right, label, changed_at > created_at FROM feedback'))
        assert rows.all() == [(False, True, None, True)]


def test_each_person_has_a_vote_of_their_own(database: Database) -> None:
    about = new_id()
    assert feedback.put(database.engine, vote(about, "visitor:ada")) == "created"
    assert feedback.put(database.engine, vote(about, "visitor:bob")) == "created"


def test_a_summary_tells_satisfaction_and_participation_by_version(database: Database) -> None:
    rows = [prediction(seq) for seq in range(1, 5)]
    predictions.append(database.engine, "m", 1, rows)
    feedback.put(database.engine, vote(rows[0].id))
    feedback.put(database.engine, vote(rows[1].id, right=False))
    [first] = feedback.summary(database.engine, "m", HOUR_AGO)
    assert first == Summary(version=1, predictions=4, n=2, satisfied=1)
    assert (first.satisfaction, first.participation) == (0.5, 0.5)


def test_a_version_without_votes_has_no_satisfaction_rather_than_none_at_all(database: Database) -> None:
    predictions.append(database.engine, "m", 1, [prediction()])
    [silent] = feedback.summary(database.engine, "m", HOUR_AGO)
    assert (silent.satisfaction, silent.participation) == (None, 0.0)
    assert Summary(1, 0, 0, 0).participation is None


def test_feedback_that_overtakes_its_prediction_counts_once_the_prediction_is_there(database: Database) -> None:
    row = prediction()
    feedback.put(database.engine, vote(row.id))
    assert feedback.summary(database.engine, "m", HOUR_AGO) == []
    predictions.append(database.engine, "m", 1, [row])
    assert feedback.summary(database.engine, "m", HOUR_AGO) == [Summary(1, 1, 1, 1)]


def test_refused_mirrored_pinned_and_old_predictions_do_not_count(database: Database) -> None:
    rows = [
        prediction(1),
        prediction(2, status=415),
        prediction(3, kind=RequestKind.SHADOW),
        prediction(5, kind=RequestKind.PIN),
        prediction(4, id=id_at(HOUR_AGO - timedelta(hours=1))),
    ]
    predictions.append(database.engine, "m", 1, rows)
    for row in rows:
        feedback.put(database.engine, vote(row.id))
    assert feedback.summary(database.engine, "m", HOUR_AGO) == [Summary(1, 1, 1, 1)]


def test_many_names_give_no_more_than_one_vote_and_the_one_who_asked_goes_first(database: Database) -> None:
    row = prediction(subject="visitor:ada")
    predictions.append(database.engine, "m", 1, [row])
    for _ in range(5):
        feedback.put(database.engine, vote(row.id, f"visitor:{uuid4()}", right=False))
    assert feedback.summary(database.engine, "m", HOUR_AGO) == [Summary(1, 1, 1, 0)]
    feedback.put(database.engine, vote(row.id, "visitor:ada"))
    assert feedback.summary(database.engine, "m", HOUR_AGO) == [Summary(1, 1, 1, 1)]
