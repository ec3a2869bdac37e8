"""Models, their specifications by hash, and the versions that Postgres numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.errors import CanariError
from canari.spec import ModelSpec
from canari.store import tables as t
from canari.types import Version, VersionState


def put_spec(engine: Engine, spec: ModelSpec) -> None:
    """Make `spec` the model's live specification; every earlier one is kept by its hash."""
    with engine.begin() as connection:
        _put_spec(connection, spec)


def live_specs(engine: Engine) -> dict[str, ModelSpec]:
    """Every model's live specification, by name."""
    query = select(t.specs.c.body).join(t.models, t.models.c.spec_hash == t.specs.c.hash).order_by(t.models.c.name)
    with engine.connect() as connection:
        specs = [ModelSpec.model_validate(body) for (body,) in connection.execute(query)]
    return {spec.name: spec for spec in specs}


def live_hashes(engine: Engine) -> dict[str, str]:
    """The hash of every model's live specification, by name: readable also where the specification no longer is."""
    with engine.connect() as connection:
        return {row.name: row.spec_hash for row in connection.execute(select(t.models.c.name, t.models.c.spec_hash))}


def allot(engine: Engine, spec: ModelSpec, *, manifest_digest: str | None, synthetic: bool) -> int:
    """Take the model's next number for a version about to be trained."""
    with engine.begin() as connection:
        _put_spec(connection, spec)
        number = connection.execute(
            update(t.models)
            .where(t.models.c.name == spec.name)
            .values(last_version=t.models.c.last_version + 1)
            .returning(t.models.c.last_version)
        ).scalar_one()
        connection.execute(
            insert(t.versions).values(
                model=spec.name,
                number=number,
                state=VersionState.BUILDING,
                spec_hash=spec.hash,
                manifest=manifest_digest,
                synthetic=synthetic,
            )
        )
        return int(number)


def resume(engine: Engine, model: str, manifest_digest: str | None) -> int | None:
    """The newest version of this manifest that is still `building`: a killed run left it to be continued."""
    query = (
        select(func.max(t.versions.c.number))
        .where(t.versions.c.model == model)
        .where(t.versions.c.state == VersionState.BUILDING)
        .where(t.versions.c.manifest == manifest_digest)
    )
    with engine.connect() as connection:
        number = connection.execute(query).scalar_one()
    return None if number is None else int(number)


def mark_ready(engine: Engine, model: str, number: int, *, archive: str, metrics: Mapping[str, Any]) -> None:
    """The version's bento is archived under `archive` (SHA-256): it may serve."""
    _mark(engine, model, number, state=VersionState.READY, archive=archive, metrics=dict(metrics), error=None)


def mark_failed(engine: Engine, model: str, number: int, error: str) -> None:
    """The version will never serve; `error` tells people why."""
    _mark(engine, model, number, state=VersionState.FAILED, error=error)


def versions(engine: Engine, model: str) -> list[Version]:
    """Every version of a model, newest first."""
    query = select(t.versions).where(t.versions.c.model == model).order_by(t.versions.c.number.desc())
    with engine.connect() as connection:
        return [_version(row) for row in connection.execute(query)]


def version(engine: Engine, model: str, number: int) -> Version:
    """One version; raises CanariError that names the versions there are."""
    known = versions(engine, model)
    for candidate in known:
        if candidate.number == number:
            return candidate
    numbers = ", ".join(str(v.number) for v in reversed(known)) or "none yet"
    raise CanariError(f"{model} has no version {number}; its versions: {numbers}")


def _mark(engine: Engine, model: str, number: int, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(t.versions)
            .where(t.versions.c.model == model, t.versions.c.number == number)
            .values(changed_at=func.now(), **values)
        )


def _put_spec(connection: Connection, spec: ModelSpec) -> None:
    connection.execute(
        upsert(t.specs).values(hash=spec.hash, model=spec.name, body=spec.document()).on_conflict_do_nothing()
    )
    statement = upsert(t.models).values(name=spec.name, spec_hash=spec.hash)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[t.models.c.name],
            set_={"spec_hash": spec.hash},
            where=t.models.c.spec_hash != spec.hash,
        )
    )


def _version(row: Row[Any]) -> Version:
    return Version(
        model=row.model,
        number=row.number,
        state=VersionState(row.state),
        spec_hash=row.spec_hash,
        archive=row.archive,
        synthetic=row.synthetic,
        metrics=row.metrics,
        created_at=row.created_at,
        error=row.error,
    )
