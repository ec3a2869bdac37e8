"""What people said of predictions. Feedback may overtake its prediction, so the two are joined when it is counted."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Engine, func, literal_column, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.store import tables as t
from canari.types import Feedback

Outcome = Literal["created", "same", "changed"]


def put(engine: Engine, vote: Feedback) -> Outcome:
    """Keep one person's feedback on a prediction.

    The same again changes nothing; a changed mind keeps what was said first in `first_right`.
    """
    values = {"right": vote.right, "label": vote.label, "comment": vote.comment}
    statement = upsert(t.feedback).values(
        prediction_id=vote.prediction_id,
        model=vote.model,
        subject=vote.subject,
        first_right=vote.right,
        **values,
    )
    now_said = tuple_(*(t.feedback.c[name] for name in values))
    said_anew = tuple_(*(statement.excluded[name] for name in values))
    statement = statement.on_conflict_do_update(
        index_elements=[t.feedback.c.prediction_id, t.feedback.c.subject],
        set_={**values, "changed_at": func.now()},
        where=now_said.is_distinct_from(said_anew),
    )
    with engine.begin() as connection:
        # A row just inserted has no deleting transaction (xmax) yet; one just updated has.
        inserted = connection.execute(statement.returning(literal_column("xmax = 0"))).scalar_one_or_none()
    return "same" if inserted is None else "created" if inserted else "changed"
