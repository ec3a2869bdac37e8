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
        return _allot(connection, spec, state=VersionState.BUILDING, manifest=manifest_digest, synthetic=synthetic)


def register(
    engine: Engine,
    built: ModelSpec,
    *,
    archive: str,
    metrics: Mapping[str, Any],
    synthetic: bool,
    manifest_digest: str | None,
) -> tuple[int, bool]:
    """Number a version that was made elsewhere, ready at once; `built` is what it was built with.

    The model must be there, and its live specification stays. Returns the number, and whether it is new: the same
    archive keeps the number it has.
    """
    with engine.begin() as connection:
        # Two pushes of one archive follow each other here, so the second finds the first's number.
        connection.execute(select(t.models.c.name).where(t.models.c.name == built.name).with_for_update())
        known = connection.execute(
            select(func.min(t.versions.c.number)).where(
                t.versions.c.model == built.name,
                t.versions.c.archive == archive,
                t.versions.c.state == VersionState.READY,
            )
        ).scalar_one()
        if known is not None:
            return int(known), False
        _keep_spec(connection, built)
        number = _allot(
            connection,
            built,
            state=VersionState.READY,
            manifest=manifest_digest,
            synthetic=synthetic,
            archive=archive,
            metrics=dict(metrics),
        )
        return number, True


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


def built_spec(engine: Engine, model: str, number: int) -> ModelSpec:
    """The specification a version was built with; the version must be there."""
    query = (
        select(t.specs.c.body)
        .join(t.versions, t.versions.c.spec_hash == t.specs.c.hash)
        .where(t.versions.c.model == model, t.versions.c.number == number)
    )
    with engine.connect() as connection:
        return ModelSpec.model_validate(connection.execute(query).scalar_one())


def manifest(engine: Engine, model: str, number: int) -> dict[str, Any] | None:
    """What a version learned from and was judged on, as JSON values; None where that was not kept."""
    query = (
        select(t.manifests.c.body)
        .join(t.versions, t.versions.c.manifest == t.manifests.c.digest)
        .where(t.versions.c.model == model, t.versions.c.number == number)
    )
    with engine.connect() as connection:
        body: dict[str, Any] | None = connection.execute(query).scalar_one_or_none()
    return body


def _mark(engine: Engine, model: str, number: int, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(t.versions)
            .where(t.versions.c.model == model, t.versions.c.number == number)
            .values(changed_at=func.now(), **values)
        )


def _allot(connection: Connection, spec: ModelSpec, **values: object) -> int:
    number = connection.execute(
        update(t.models)
        .where(t.models.c.name == spec.name)
        .values(last_version=t.models.c.last_version + 1)
        .returning(t.models.c.last_version)
    ).scalar_one()
    connection.execute(insert(t.versions).values(model=spec.name, number=number, spec_hash=spec.hash, **values))
    return int(number)


def _keep_spec(connection: Connection, spec: ModelSpec) -> None:
    connection.execute(
        upsert(t.specs).values(hash=spec.hash, model=spec.name, body=spec.document()).on_conflict_do_nothing()
    )


def _put_spec(connection: Connection, spec: ModelSpec) -> None:
    _keep_spec(connection, spec)
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
