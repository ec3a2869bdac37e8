"""What a model is, which versions it has, and how they came to their traffic."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from canari.spec import ModelSpec, Text
from canari.store import rollouts, versions
from canari.tokens import Identity, Scope
from canari.types import Rollout, Version
from services.feedback.context import InContext
from services.feedback.identity import require, require_identity
from services.feedback.schemas import DecisionOut, History, InputOut, LabelOut, ModelOut, VersionOut
from services.web.problems import problems

router = APIRouter(tags=["Models"])


@router.get("/api/{model}", summary="A model, its labels and its versions", responses=problems(404, 503))
def model(model: str, context: InContext) -> ModelOut:
    """What to send, what comes back, and who answers."""
    spec = context.spec(model)
    stable, rollout = rollouts.desired(context.engine)[model]
    return ModelOut(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input=InputOut.model_validate(spec.input, from_attributes=True),
        labels=[_label(spec, label) for label in spec.labels],
        abstain=_label(spec, spec.abstain.label) if spec.abstain else None,
        anonymous=spec.access.anonymous,
        stable=stable,
        versions=[version_out(v, stable, rollout) for v in versions.versions(context.engine, model)],
    )


@router.get(
    "/api/{model}/rollouts",
    summary="The decisions that moved a model's traffic",
    responses=problems(401, 403, 404, 422, 503),
)
def history(
    model: str,
    identity: Annotated[Identity, Depends(require_identity)],
    context: InContext,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> History:
    """Newest first. Needs the scope operate."""
    spec = context.spec(model)
    require(identity, Scope.OPERATE, spec)
    decided = rollouts.history(context.engine, model, last=limit)
    return History(decisions=[DecisionOut.model_validate(row) for row in decided])


def version_out(version: Version, stable: int | None, rollout: Rollout | None) -> VersionOut:
    """A version with the percent of the traffic that it is to get."""
    given = rollout.weight if rollout else 0
    weight = given if rollout and version.number == rollout.canary else 100 - given if version.number == stable else 0
    return VersionOut(number=version.number, state=version.state, synthetic=version.synthetic, weight=weight)


def _label(spec: ModelSpec, label: str) -> LabelOut:
    return LabelOut(label=label, title=spec.label_titles.get(label) or Text(fr=label, en=label))
