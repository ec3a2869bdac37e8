"""What a team added to learn from, and the manifests of what each version learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.store import tables as t
from canari.types import Sample


def add(engine: Engine, model: str, samples: Sequence[Sample], *, synthetic: bool = False) -> int:
    """Keep samples; one that is there already (same bytes) is left as it is. Returns how many were new."""
    if not samples:
        return 0
    rows = [
        {
            "model": model,
            "sha256": s.sha256,
            "label": s.label,
            "group": s.group,
            "evaluation": s.evaluation,
            "synthetic": synthetic,
            "source": s.source,
        }
        for s in samples
    ]
    statement = upsert(t.samples).values(rows).on_conflict_do_nothing().returning(t.samples.c.sha256)
    with engine.begin() as connection:
        return len(connection.execute(statement).all())


def all(engine: Engine, model: str, *, synthetic: bool = False) -> list[Sample]:  # noqa: A001 - read as samples.all
    """Every sample of a model, by digest; `path` is its place in the blob store, relative to that store."""
    query = (
        select(t.samples)
        .where(t.samples.c.model == model, t.samples.c.synthetic == synthetic)
        .order_by(t.samples.c.sha256)
    )
    with engine.connect() as connection:
        return [
            Sample(
                sha256=row.sha256,
                label=row.label,
                group=row.group,
                path=Path("samples") / model / row.sha256,
                evaluation=row.evaluation,
                source=row.source,
            )
            for row in connection.execute(query)
        ]


def put_manifest(engine: Engine, digest: str, model: str, body: Mapping[str, Any]) -> None:
    """Keep a manifest under its digest."""
    with engine.begin() as connection:
        connection.execute(
            upsert(t.manifests).values(digest=digest, model=model, body=dict(body)).on_conflict_do_nothing()
        )
