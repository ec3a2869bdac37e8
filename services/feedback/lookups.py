"""Looking up predictions."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from canari.errors import Problem
from canari.store import predictions
from canari.tokens import Identity, Scope
from services.feedback.context import InContext
from services.feedback.identity import Who, require, require_identity, subject_of
from services.feedback.schemas import PredictionOut, PredictionPage, PredictionWithFeedback
from services.web.problems import problems

router = APIRouter(tags=["Predictions"])


@router.get(
    "/api/{model}/predictions",
    summary="Your predictions, newest first",
    responses=problems(401, 403, 404, 422, 503),
)
def page(
    model: str,
    identity: Annotated[Identity, Depends(require_identity)],
    context: InContext,
    before: Annotated[UUID | None, Query(description="Only those made before this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> PredictionPage:
    """Those whom the scope operate lets see everyone's do. `next` is the `before` of the page that follows."""
    spec = context.spec(model)
    require(identity, Scope.PREDICT, spec)
    subject = None if identity.may(Scope.OPERATE, model) else identity.subject
    # One more than asked for tells whether there is a next page.
    found = predictions.page(context.engine, model, before=before, limit=limit + 1, version=version, subject=subject)
    shown = [PredictionOut.of(recorded) for recorded in found[:limit]]
    return PredictionPage(predictions=shown, next=shown[-1].prediction_id if len(found) > limit else None)


@router.get(
    "/api/{model}/predictions/{prediction_id}",
    summary="A prediction and what was said of it",
    responses=problems(401, 403, 404, 422, 503),
)
def one(model: str, prediction_id: UUID, identity: Who, context: InContext) -> PredictionWithFeedback:
    """Your own, with what you said; with the scope operate anyone's, with what everyone said."""
    spec = context.spec(model)
    require(identity, Scope.PREDICT, spec)
    subject = subject_of(identity, prediction_id)
    sees_all = identity is not None and identity.may(Scope.OPERATE, model)
    found = predictions.get(context.engine, model, prediction_id)
    if found is None or not (sees_all or found[0].prediction.subject == subject):
        detail = f"{model} made no prediction {prediction_id} for you, or it has not arrived yet: try again shortly."
        raise Problem(404, "unknown-prediction", detail)
    recorded, votes = found
    return PredictionWithFeedback.with_votes(recorded, [v for v in votes if sees_all or v.subject == subject])
