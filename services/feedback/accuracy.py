"""How right versions are, as last evaluated, and what they did hour by hour."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from canari.store import evaluations, hours, rollouts
from canari.tokens import Scope
from services.feedback.accuracy_schemas import Accuracy, EvaluatedOut, HourOut, Hours, PastAccuracy
from services.feedback.context import InContext
from services.feedback.identity import Known, Who, operated, require
from services.web.problems import problems

router = APIRouter(tags=["Accuracy"])
_QUARTER = 24 * 92


@router.get("/api/{model}/accuracy", summary="How right the live versions are", responses=problems(401, 403, 404, 503))
def accuracy(model: str, operator: Known, context: InContext) -> Accuracy:
    """On the examples that are held out, and on what people said it really was. Needs the scope operate."""
    spec = operated(context, model, operator)
    wanted = rollouts.desired(context.engine)[model]
    newest = evaluations.latest(context.engine)
    found = [newest[model, number] for number in wanted.versions if (model, number) in newest]
    return Accuracy(
        model=model,
        stable=wanted.stable,
        threshold=spec.least_accuracy,
        versions=[EvaluatedOut.of(one) for one in found],
    )


@router.get(
    "/api/{model}/past-accuracy",
    summary="How right versions were",
    responses=problems(401, 403, 404, 422, 503),
)
def past_accuracy(
    model: str,
    operator: Known,
    context: InContext,
    last: Annotated[int, Query(ge=1, le=1000, description="How many evaluations.")] = 24,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="This version's alone.")] = None,
) -> PastAccuracy:
    """The newest evaluations, newest first. Needs the scope operate."""
    spec = operated(context, model, operator)
    found = evaluations.past(context.engine, model, last=last, version=version)
    return PastAccuracy(model=model, threshold=spec.least_accuracy, evaluations=[EvaluatedOut.of(one) for one in found])


@router.get(
    "/api/{model}/history",
    summary="What versions did, hour by hour",
    responses=problems(401, 403, 404, 422, 503),
)
def history(
    model: str,
    identity: Who,
    context: InContext,
    last: Annotated[int, Query(alias="hours", ge=1, le=_QUARTER, description="How many, the running one last.")] = 24,
) -> Hours:
    """Counts of requests, answers and votes. Votes are in it some 20 seconds after they come, however late they are."""
    require(identity, Scope.PREDICT, context.spec(model))
    found = hours.history(context.engine, model, hours.first_hour(datetime.now(UTC), last))
    return Hours(model=model, hours=[HourOut.of(one) for one in found])
