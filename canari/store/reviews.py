"""What a person's word makes of a user's input: a sample to learn from, or nothing.

A sample's row is there before its bytes are, and its bytes are gone before its row is. So no bytes lie among the
samples that erasing their sender would not find. A process that is killed in between leaves a row without bytes, which
training leaves out: the same word said again mends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from PIL import Image
from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.blobs import Blobs, samples_folder
from canari.dataset import group_of, held_out
from canari.errors import Problem
from canari.spec import ModelSpec
from canari.store import inputs, latecomers, samples
from canari.store import tables as t
from canari.store.inputs import KeptInput
from canari.store.latecomers import HashOf
from canari.store.queue import guess
from canari.types import Origin, Review

Decision = Literal["accept", "relabel", "refuse"]
_TAKEN = {Review.ACCEPTED, Review.RELABELLED}
# What was learned from as a version's own answer was not a person's word.
_LEARNED = text("""
    SELECT v.number FROM manifests m LEFT JOIN versions v ON v.model = m.model AND v.manifest = m.digest
    WHERE m.model = :model
      AND m.body -> 'samples' @> jsonb_build_array(jsonb_build_object('sha256', :sha256, 'origin', 'curated'))
    ORDER BY v.number
""")


@dataclass(frozen=True, slots=True)
class Word:
    """What a person (`actor`) says of an input: accept the answer, give it another `label`, or refuse the input."""

    decision: Decision
    actor: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    review: Review
    label: str | None


@dataclass(frozen=True, slots=True)
class Reviewed:
    """How an input stands now; `changed` unless the same had been said before."""

    review: Review
    label: str | None
    changed: bool


def review(
    engine: Engine, blobs: Blobs, spec: ModelSpec, prediction_id: UUID, word: Word, *, hash_of: HashOf
) -> Reviewed:
    """Take a person's word on a consented input; the last word holds, until a version has learned from it.

    Raises Problem: 404 where there is no such input any more, 422 for a label that is none, 409 where the word cannot
    be taken: `no-answer`, `held-out`, `known-sample`, `labelled-otherwise`, `erased`, `learned-from`, `unreadable`.
    `hash_of` is how tombstones call a subject.
    """
    kept, content = look(engine, blobs, spec.name, prediction_id)
    wanted = _wanted(engine, spec, prediction_id, word)
    group = _group(spec, content) if wanted.label else ""
    with engine.begin() as connection:
        held = _hold(connection, kept, hash_of)
        changed = (held.review, held.label) != (wanted.review, wanted.label)
        if changed and held.review in _TAKEN:
            _refuse_learned(connection, kept)
        if wanted.label is None:
            _drop_sample(connection, blobs, kept)
        else:
            _put_sample(connection, spec, kept, wanted.label, group, word.actor)
        if changed:
            said = {"review": wanted.review, "label": wanted.label}
            values = {**said, "reviewed_by": word.actor, "reviewed_at": func.now()}
            connection.execute(update(t.inputs).where(_is(kept)).values(values))
    if wanted.label is not None:
        _copy(engine, blobs, kept, content)
    return Reviewed(wanted.review, wanted.label, changed)


def look(engine: Engine, blobs: Blobs, model: str, prediction_id: UUID) -> tuple[KeptInput, bytes]:
    """A consented input that may still be kept, and its bytes; raises Problem 404."""
    kept = inputs.read(engine, model, prediction_id)
    if kept is None or not kept.consented or kept.keep_until <= datetime.now(UTC):
        raise _unknown(model, prediction_id)
    try:
        return kept, blobs.get(kept.folder, kept.sha256)
    except KeyError:
        raise _unknown(model, prediction_id) from None


def _wanted(engine: Engine, spec: ModelSpec, prediction_id: UUID, word: Word) -> _Wanted:
    if word.decision == "refuse":
        return _Wanted(Review.REFUSED, None)
    p = t.predictions.c
    with engine.connect() as connection:
        found = connection.execute(
            select(p.label, p.scores).where(p.id == prediction_id, p.model == spec.name)
        ).one_or_none()
    answer = guess(spec.labels, found.label, found.scores) if found else None
    label = answer if word.decision == "accept" else word.label
    if label is None:
        raise Problem(409, "no-answer", "What the model answered has not arrived: say what it is instead.")
    if label not in spec.labels:
        allowed = ", ".join(spec.labels)
        detail = f"{label!r} is not one of the labels of {spec.name}: {allowed}."
        raise Problem(422, "unknown-label", detail, labels=list(spec.labels))
    return _Wanted(Review.ACCEPTED if label == answer else Review.RELABELLED, label)


def _group(spec: ModelSpec, content: bytes) -> str:
    try:
        return group_of(content, spec.input.kind)
    except (OSError, Image.DecompressionBombError):
        raise Problem(409, "unreadable", "This photo cannot be read, so nothing can learn from it.") from None


def _hold(connection: Connection, kept: KeptInput, hash_of: HashOf) -> Row[Any]:
    """The input's row, which nobody changes or erases until the transaction ends; raises Problem 404."""
    late = latecomers.late(connection, hash_of, [(kept.prediction_id, kept.subject)])
    row = connection.execute(select(t.inputs).where(_is(kept)).with_for_update()).one_or_none()
    if late or row is None:
        raise _unknown(kept.model, kept.prediction_id)
    return row


def _refuse_learned(connection: Connection, kept: KeptInput) -> None:
    """Raise Problem 409 where a dataset holds the sample that an earlier word made."""
    numbers = connection.execute(_LEARNED, {"model": kept.model, "sha256": kept.sha256}).scalars().all()
    if not numbers:
        return
    by = ", ".join(f"version {number}" for number in numbers if number is not None) or "a version in the making"
    detail = (
        f"It was learned from by {by}, so what was said of it stays. "
        f"To have later versions leave it out: DELETE /api/{kept.model}/samples/{kept.sha256}."
    )
    raise Problem(409, "learned-from", detail, versions=[number for number in numbers if number is not None])


def _put_sample(connection: Connection, spec: ModelSpec, kept: KeptInput, label: str, group: str, actor: str) -> None:
    """Have the sample's row; raises Problem 409 where there may be none."""
    s = t.samples.c
    judged = exists().where(s.model == kept.model, s.group == group, s.evaluation)
    if held_out(group, spec.evaluation.share) or connection.execute(select(judged)).scalar_one():
        raise Problem(
            409,
            "held-out",
            f"It is like the inputs that versions of {kept.model} are judged on (a fixed {spec.evaluation.share:.0%} "
            "of all, by content), so none may learn from it: refuse it.",
        )
    if samples.is_erased(connection, kept.model, kept.sha256):
        raise Problem(409, "erased", "Somebody had the same bytes erased, so none may learn from it: refuse it.")
    values = {
        "label": label,
        "group": group,
        "evaluation": False,
        "synthetic": False,
        "source": f"prediction {kept.prediction_id}",
        "origin": Origin.CURATED,
        "subject": kept.subject,
        "prediction_id": kept.prediction_id,
        "labelled_by": actor,
    }
    new = upsert(t.samples).values(model=kept.model, sha256=kept.sha256, **values).on_conflict_do_nothing()
    if connection.execute(new.returning(s.sha256)).first() is None:
        _take_over(connection, kept, label, actor)


def _take_over(connection: Connection, kept: KeptInput, label: str, actor: str) -> None:
    """Give the sample that has the same bytes this label, if it was made of this input; raises Problem 409."""
    found = connection.execute(select(t.samples).where(_sample_of(kept)).with_for_update()).one()
    if found.origin != Origin.CURATED:
        raise Problem(
            409,
            "known-sample",
            f"The team added the same bytes already, as {found.label!r}: refuse it.",
            label=found.label,
        )
    if found.label == label:
        return
    if found.prediction_id != kept.prediction_id:
        detail = f"The same bytes were given the label {found.label!r}, for the prediction {found.prediction_id}."
        raise Problem(409, "labelled-otherwise", detail, label=found.label, prediction_id=str(found.prediction_id))
    connection.execute(update(t.samples).where(_sample_of(kept)).values(label=label, labelled_by=actor))


def _drop_sample(connection: Connection, blobs: Blobs, kept: KeptInput) -> None:
    """Forget the sample that was made of an input, unless the same bytes were accepted from another sender too."""
    s, i = t.samples.c, t.inputs.c
    made = _sample_of(kept) & (s.origin == Origin.CURATED) & (s.prediction_id == kept.prediction_id)
    if connection.execute(select(s.sha256).where(made).with_for_update()).one_or_none() is None:
        return
    other = connection.execute(
        select(i.subject, i.prediction_id)
        .where(i.model == kept.model, i.sha256 == kept.sha256, i.prediction_id != kept.prediction_id)
        .where(i.review.in_(_TAKEN))
        .limit(1)
    ).one_or_none()
    if other is not None:
        values = {"subject": other.subject, "prediction_id": other.prediction_id}
        connection.execute(update(t.samples).where(made).values(values))
        return
    blobs.delete(samples_folder(kept.model), kept.sha256)
    connection.execute(delete(t.samples).where(made))


def _copy(engine: Engine, blobs: Blobs, kept: KeptInput, content: bytes) -> None:
    """Put the sample's bytes, unless its row is gone again."""
    with engine.begin() as connection:
        if connection.execute(select(t.samples.c.sha256).where(_sample_of(kept)).with_for_update()).first():
            blobs.put(samples_folder(kept.model), content)


def _is(kept: KeptInput) -> ColumnElement[bool]:
    return (t.inputs.c.model == kept.model) & (t.inputs.c.prediction_id == kept.prediction_id)


def _sample_of(kept: KeptInput) -> ColumnElement[bool]:
    return (t.samples.c.model == kept.model) & (t.samples.c.sha256 == kept.sha256)


def _unknown(model: str, prediction_id: UUID) -> Problem:
    detail = f"{model} keeps no input of the prediction {prediction_id} that may be looked at: its time may be over."
    return Problem(404, "unknown-input", detail)
