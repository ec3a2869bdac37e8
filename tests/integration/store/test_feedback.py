from uuid import UUID

from sqlalchemy import text

from canari.ids import new_id
from canari.store import feedback
from canari.types import Feedback
from tests.conftest import Database


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
