"""What may be learned from: the team's samples, users' that a person accepted, and the manifests of each version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.blobs import samples_folder
from canari.store import tables as t
from canari.types import Origin, Sample

# The person who asked may have said that the answer was wrong: then nobody is sure of it.
_SURE = text("""
    SELECT i.prediction_id, i.sha256, i.subject, p.label, p.version
    FROM inputs i JOIN predictions p ON p.id = i.prediction_id
    WHERE i.model = :model AND i.consented AND i.review = 'waiting' AND i.keep_until > now()
      AND p.model = :model AND p.status < 400 AND p.score >= :least
      AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.prediction_id = i.prediction_id AND NOT f."right")
    ORDER BY i.prediction_id DESC
    LIMIT :most
""")
_NEW = text("""
    SELECT count(*) AS n, max(s.created_at) AS newest FROM samples s
    WHERE s.model = :model AND NOT s.synthetic AND s.origin = ANY(:origins)
      AND NOT EXISTS (SELECT 1 FROM erased_samples e WHERE e.model = s.model AND e.sha256 = s.sha256)
      AND s.sha256 NOT IN (
          SELECT one ->> 'sha256' FROM models o
          JOIN versions v ON v.model = o.name AND v.number = o.stable
          JOIN manifests m ON m.digest = v.manifest
          CROSS JOIN jsonb_array_elements(m.body -> 'samples') one
          WHERE o.name = :model AND one ->> 'sha256' IS NOT NULL
      )
""")


@dataclass(frozen=True, slots=True)
class Answered:
    """A user's kept input that a version was sure of, with the answer."""

    prediction_id: UUID
    sha256: str
    subject: str
    label: str
    version: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A sample that is kept, and whether it was generated."""

    sample: Sample
    synthetic: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many samples of a label lie on a side and come from the same place."""

    label: str
    evaluation: bool
    origin: Origin
    synthetic: bool
    n: int


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
        return [_sample(row) for row in connection.execute(query)]


def find(engine: Engine, model: str, sha256: str) -> Kept | None:
    """The sample of a digest, whoever added it; None where there is none."""
    with engine.connect() as connection:
        row = connection.execute(select(t.samples).where(_is(model, sha256))).one_or_none()
    return None if row is None else Kept(_sample(row), row.synthetic)


def adopt(engine: Engine, model: str, sample: Sample) -> None:
    """Let the team have added a sample that was there already, generated or sent by a user: it may be judged on now."""
    values = {
        "synthetic": False, "origin": Origin.TEAM, "evaluation": sample.evaluation, "source": sample.source,
        "group": sample.group, "labelled_by": None, "created_at": func.now(),
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(update(t.samples).where(_is(model, sample.sha256)).values(values))


def remove(engine: Engine, model: str, sha256: str) -> bool:
    """Forget a sample's row; returns whether there was one."""
    with engine.begin() as connection:
        return connection.execute(delete(t.samples).where(_is(model, sha256))).rowcount > 0


def counts(engine: Engine, model: str) -> list[Count]:
    """How many samples a model has, by label, side and origin."""
    s = t.samples.c
    names = (s.label, s.evaluation, s.origin, s.synthetic)
    query = select(*names, func.count().label("n")).where(s.model == model).group_by(*names).order_by(*names)
    with engine.connect() as connection:
        return [
            Count(row.label, row.evaluation, Origin(row.origin), row.synthetic, row.n)
            for row in connection.execute(query)
        ]


def erased(engine: Engine, model: str) -> frozenset[str]:
    """The digests of what people had erased: none of it may be learned from again."""
    query = select(t.erased_samples.c.sha256).where(t.erased_samples.c.model == model)
    with engine.connect() as connection:
        return frozenset(connection.execute(query).scalars())


def is_erased(connection: Connection, model: str, sha256: str) -> bool:
    """Whether somebody had these bytes erased."""
    e = t.erased_samples.c
    return bool(connection.execute(select(exists().where(e.model == model, e.sha256 == sha256))).scalar_one())


def sure(engine: Engine, model: str, *, least: float, most: int) -> list[Answered]:
    """The newest consented inputs that were answered with a certainty of `least` or more, newest first.

    Without those that a person has looked at, or said the answer of was wrong.
    """
    with engine.connect() as connection:
        rows = connection.execute(_SURE, {"model": model, "least": least, "most": most})
        return [Answered(**row) for row in rows.mappings()]


def new(engine: Engine, model: str, origins: Sequence[Origin] = (Origin.TEAM,)) -> tuple[int, Any]:
    """How many samples of these origins stable's manifest does not name, and when the last of them came (or None)."""
    with engine.connect() as connection:
        row = connection.execute(_NEW, {"model": model, "origins": [str(origin) for origin in origins]}).one()
    return int(row.n), row.newest


def put_manifest(engine: Engine, digest: str, model: str, body: Mapping[str, Any]) -> None:
    """Keep a manifest under its digest."""
    with engine.begin() as connection:
        connection.execute(
            upsert(t.manifests).values(digest=digest, model=model, body=dict(body)).on_conflict_do_nothing()
        )


def manifest_of(engine: Engine, model: str, number: int) -> str | None:
    """The digest of what a version learned from; None where that is not known."""
    query = select(t.versions.c.manifest).where(t.versions.c.model == model, t.versions.c.number == number)
    with engine.connect() as connection:
        digest: str | None = connection.execute(query).scalar_one_or_none()
    return digest


def manifest(engine: Engine, digest: str) -> dict[str, Any] | None:
    """The manifest of a digest, as JSON values; None where none is kept."""
    with engine.connect() as connection:
        body: dict[str, Any] | None = connection.execute(
            select(t.manifests.c.body).where(t.manifests.c.digest == digest)
        ).scalar_one_or_none()
    return body


def _is(model: str, sha256: str) -> ColumnElement[bool]:
    return (t.samples.c.model == model) & (t.samples.c.sha256 == sha256)


def _sample(row: Row[Any]) -> Sample:
    origin = Origin(row.origin)
    return Sample(
        sha256=row.sha256,
        label=row.label,
        group=row.group,
        path=Path(samples_folder(row.model)) / row.sha256,
        evaluation=row.evaluation,
        source=row.source,
        origin=origin,
        # Who it was is not a manifest's business.
        labelled_by=None if origin is Origin.TEAM else "a person",
    )
