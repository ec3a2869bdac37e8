"""What a look at whether a model is due to be trained again needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, Row, text

from canari.policy.retrain import Facts, HourCounts
from canari.store import hours, samples
from canari.types import Origin

_STANDS = text("""
    SELECT o.stable,
        coalesce((SELECT max(settled_at) FROM rollouts
                  WHERE model = o.name AND canary = o.stable AND state = 'promoted'), o.created_at) AS stable_since,
        (SELECT max(canary) FROM rollouts
         WHERE model = o.name AND state IN ('open', 'queued')) AS on_trial,
        (SELECT min(id) FROM jobs
         WHERE model = o.name AND kind = 'retrain' AND state IN ('queued', 'running')) AS waiting,
        (SELECT max(created_at) FROM jobs WHERE model = o.name AND kind = 'retrain') AS asked_at,
        (SELECT max(created_at) FROM jobs
         WHERE model = o.name AND kind = 'retrain' AND jsonb_exists(progress -> 'facts', 'version')) AS trained_at,
        e.held_out, e.drift
    FROM models o
    LEFT JOIN LATERAL (
        SELECT held_out, drift FROM evaluations WHERE model = o.name AND version = o.stable
        ORDER BY until DESC, since DESC LIMIT 1
    ) e ON true
    WHERE o.name = :model
""")


def read(engine: Engine, model: str, *, origins: Sequence[Origin] = (Origin.TEAM,)) -> Facts | None:
    """What is known of a model; None where it has no stable version. New samples count where they are of `origins`."""
    with engine.connect() as connection:
        row = connection.execute(_STANDS, {"model": model}).one_or_none()
        if row is None or row.stable is None:
            return None
    counted = [
        HourCounts(one.hour, one.predictions, one.voted, one.satisfied, one.labelled, one.correct)
        for one in hours.history(engine, model, row.stable_since, version=row.stable)
    ]
    new, newest = samples.new(engine, model, origins)
    return Facts(
        model=model,
        stable=int(row.stable),
        stable_since=row.stable_since,
        hours=counted,
        held_out=_held_out(row),
        drift=_number(row.drift, "share"),
        new_samples=new,
        newest_sample=newest,
        asked_at=row.asked_at,
        on_trial=row.on_trial,
        trained_at=row.trained_at,
        waiting=row.waiting,
    )


def _held_out(row: Row[Any]) -> tuple[int, int] | None:
    """How many of the evaluation set are right, and of how many; None where it was not measured."""
    accuracy, count = _number(row.held_out, "accuracy"), _number(row.held_out, "count")
    return None if accuracy is None or not count else (round(accuracy * count), int(count))


def _number(document: Mapping[str, Any] | None, name: str) -> float | None:
    value = None if document is None else document.get(name)
    return float(value) if isinstance(value, int | float) else None
