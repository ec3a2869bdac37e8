"""How the platform does: for people, for monitors, and as the Open Inference Protocol asks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from loguru import logger
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from canari import __version__
from canari.spec import ModelSpec
from canari.store import evaluations, hours, predictions, rollouts, versions
from canari.store.evaluations import LiveEvaluation
from canari.store.hours import Summary
from canari.types import Desired
from services.feedback.context import Cached, InContext
from services.feedback.models import version_out
from services.feedback.status_schemas import (
    CanaryOut,
    DatabaseStatus,
    EvaluationOut,
    Health,
    LastDay,
    ModelStatus,
    ServerMetadata,
    Status,
)
from services.web.problems import problems

router = APIRouter()
_NEWEST = 10
_ALIVE = text("SELECT 1")
_DATABASE = text("""
    SELECT current_setting('server_version') AS server_version, pg_database_size(current_database()) AS size_bytes,
           (SELECT version_num FROM canari_schema) AS schema_revision
""")


def gather(engine: Engine) -> Status:
    """How every model does, from the store."""
    said = hours.summaries(engine, datetime.now(UTC))
    desired = rollouts.desired(engine)
    specs = versions.live_specs(engine)
    measured = evaluations.latest(engine)
    models = []
    for name, spec in specs.items():
        wanted = desired.get(name, Desired(None))
        evaluation = None if wanted.stable is None else measured.get((name, wanted.stable))
        models.append(_model_status(engine, spec, wanted, evaluation, said.get(name, [])))
    return Status(version=__version__, models=models)


@router.get("/api/status", tags=["Status"], summary="How every model does", responses=problems(503))
def status(request: Request) -> Status:
    """Versions, traffic, and the last 24 hours by the clock. Up to a few seconds old, votes up to 20."""
    cached: Cached[Status] = request.app.state.status
    return cached.get()


@router.get("/api/status/db", tags=["Status"], summary="How the database does")
def database_status(context: InContext) -> DatabaseStatus:
    """Answers 200 also where the database does not: then `reachable` is false."""
    try:
        with context.engine.connect() as connection:
            row = connection.execute(_DATABASE).mappings().one()
    except SQLAlchemyError as error:
        logger.warning("the database does not answer: {}", str(error).partition("\n")[0])
        return DatabaseStatus(reachable=False)
    return DatabaseStatus(reachable=True, **row)


@router.get("/api/health", tags=["Status"], summary="Whether the platform can do its work", responses=problems(503))
def health(context: InContext) -> Health:
    """200 when this process and its database answer, 503 else."""
    _ask_database(context)
    return Health()


@router.get("/v2", tags=["Open Inference Protocol"], summary="Server metadata")
def server_metadata() -> ServerMetadata:
    """What this server is."""
    return ServerMetadata(name="canari", version=__version__, extensions=["binary_tensor_data"])


@router.get("/v2/health/live", tags=["Open Inference Protocol"], summary="Whether the server lives")
def live() -> dict[str, bool]:
    """Always true where anything answers."""
    return {"live": True}


@router.get(
    "/v2/health/ready",
    tags=["Open Inference Protocol"],
    summary="Whether the server can do its work",
    responses=problems(503),
)
def ready(context: InContext) -> dict[str, bool]:
    """As `/api/health`. Whether one model can answer is asked of the model."""
    _ask_database(context)
    return {"ready": True}


def _ask_database(context: InContext) -> None:
    with context.engine.connect() as connection:
        connection.execute(_ALIVE)


def _model_status(
    engine: Engine, spec: ModelSpec, wanted: Desired, evaluation: LiveEvaluation | None, said: Sequence[Summary]
) -> ModelStatus:
    rollout = wanted.rollout
    votes, satisfied = sum(s.n for s in said), sum(s.satisfied for s in said)
    known = [version_out(v, wanted) for v in versions.versions(engine, spec.name)]
    return ModelStatus(
        name=spec.name,
        title=spec.title,
        input=spec.input.kind,
        stable=wanted.stable,
        canary=CanaryOut(version=rollout.canary, weight=rollout.weight) if rollout else None,
        versions=[v for place, v in enumerate(known) if place < _NEWEST or v.weight],
        last_day=LastDay(
            predictions=sum(s.predictions for s in said),
            feedback=votes,
            satisfaction=satisfied / votes if votes else None,
        ),
        lost=sum(predictions.losses(engine, spec.name).values()),
        evaluation=None if evaluation is None else EvaluationOut.model_validate(evaluation),
    )
