"""Feedback: right or wrong, and what it really was."""

from __future__ import annotations

from fastapi import APIRouter, Response

from canari.errors import Problem
from canari.spec import ModelSpec
from canari.store import feedback, predictions
from canari.tokens import Scope
from canari.types import Feedback
from services.feedback.context import InContext
from services.feedback.identity import Who, require, subject_of
from services.feedback.schemas import FeedbackIn, FeedbackOut
from services.web.problems import problems

router = APIRouter(tags=["Feedback"])


@router.post(
    "/api/{model}/feedback",
    status_code=201,
    summary="Say whether an answer was right",
    responses={
        **problems(401, 403, 404, 415, 422, 503),
        200: {"model": FeedbackOut, "description": "Said before; changed where it differs."},
    },
)
def say(model: str, said: FeedbackIn, identity: Who, context: InContext, response: Response) -> FeedbackOut:
    """One vote per person and prediction: the same again changes nothing, another one replaces it.

    Feedback may arrive before its prediction does.
    """
    spec = context.spec(model)
    require(identity, Scope.FEEDBACK, spec)
    _check_label(spec, said.label)
    if predictions.model_of(context.engine, said.prediction_id) not in {model, None}:
        raise Problem(404, "unknown-prediction", f"The prediction {said.prediction_id} was not made by {model}.")
    vote = Feedback(
        prediction_id=said.prediction_id,
        model=model,
        subject=subject_of(identity, said.prediction_id),
        right=said.right,
        label=said.label,
        comment=said.comment,
    )
    outcome = feedback.put(context.engine, vote)
    response.status_code = 201 if outcome == "created" else 200
    return FeedbackOut(outcome=outcome, **said.model_dump())


def _check_label(spec: ModelSpec, label: str | None) -> None:
    if label is not None and label not in spec.labels:
        allowed = ", ".join(spec.labels)
        raise Problem(
            422,
            "unknown-label",
            f"{label!r} is not one of the labels of {spec.name}: {allowed}; leave it out if it is none of them.",
            errors=[{"field": "body.label", "message": f"choose one of: {allowed}, or null"}],
            labels=list(spec.labels),
        )
