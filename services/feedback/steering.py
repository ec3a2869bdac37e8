"""Steering a model's traffic: the decision is recorded here, and the controller acts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request

from canari.errors import CanariError, Problem
from canari.policy import Expectation, expected_duration
from canari.store import rollout_views, rollouts, shadows, versions
from canari.tokens import Identity
from canari.types import Rollout, RolloutState
from services.feedback.context import Cached, Context, InContext
from services.feedback.identity import Known, operated
from services.feedback.rollout_schemas import (
    DecisionOut,
    DisagreementOut,
    Disagreements,
    ExpectedOut,
    History,
    ReasonIn,
    RolloutDetail,
    RolloutIn,
    RolloutOut,
    RolloutRow,
)
from services.feedback.status_schemas import Status
from services.web.problems import problems, sentence

router = APIRouter(tags=["Rollouts"])
_PROBLEMS = problems(401, 403, 404, 409, 415, 422, 503)
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Reason = Annotated[ReasonIn, Body(default_factory=ReasonIn)]


@router.post("/api/{model}/rollout", summary="Have a version judged, or give it traffic by hand", responses=_PROBLEMS)
def start(model: str, wanted: RolloutIn, operator: Known, context: InContext, request: Request) -> RolloutOut:
    """Without a weight the version is judged step by step, as `canary` in the model's specification says.

    It waits while another version is judged; a newer proposal takes the place of one that waits. With a weight it is
    steered by hand: less than 100 opens a rollout beside the stable version, or moves the open one; 100 makes the
    version stable; what is judged or waits is superseded. A model's first version takes all, whatever is asked. Needs
    the scope operate.
    """
    operated(context, model, operator)
    if not any(v.number == wanted.version for v in versions.versions(context.engine, model)):
        raise Problem(404, "unknown-version", f"{model} has no version {wanted.version}.")
    with _refused():
        if wanted.weight is not None:
            given = rollouts.deploy(context.engine, model, wanted.version, weight=wanted.weight, actor=operator.subject)
            return _out(context, model, given)
        proposed = rollouts.propose(
            context.engine, model, wanted.version, actor=operator.subject, reason=wanted.reason or "by hand"
        )
    expected = _expected(request, rollout_views.detail(context.engine, model, proposed.id))
    return _out(context, model, proposed, expected)


@router.post("/api/{model}/rollout/pause", summary="Keep the rollout where it is", responses=_PROBLEMS)
def pause(model: str, operator: Known, context: InContext, why: Reason) -> RolloutOut:
    """It keeps its weight, and neither advances nor is promoted by itself. Needs the scope operate."""
    return _steered(rollouts.pause, model, operator, context, why)


@router.post("/api/{model}/rollout/resume", summary="Let a paused rollout go on", responses=_PROBLEMS)
def resume(model: str, operator: Known, context: InContext, why: Reason) -> RolloutOut:
    """The pause does not count towards its deadline. Needs the scope operate."""
    return _steered(rollouts.resume, model, operator, context, why)


@router.post("/api/{model}/rollout/promote", summary="Make the version on trial the stable one", responses=_PROBLEMS)
def promote(model: str, operator: Known, context: InContext, why: Reason) -> RolloutOut:
    """Settles the open rollout, and opens the one that waits. Needs the scope operate."""
    return _steered(rollouts.promote, model, operator, context, why)


@router.post("/api/{model}/rollout/rollback", summary="Give the stable version all traffic again", responses=_PROBLEMS)
def roll_back(model: str, operator: Known, context: InContext, why: Reason) -> RolloutOut:
    """Settles the open rollout, and opens the one that waits.

    Where the last one was promoted and the stable version of before is still kept ready, that one is stable again.
    Needs the scope operate.
    """
    return _steered(rollouts.roll_back, model, operator, context, why)


@router.post("/api/{model}/rollout/abort", summary="End the trial without a verdict", responses=_PROBLEMS)
def abort(model: str, operator: Known, context: InContext, why: Reason) -> RolloutOut:
    """The stable version gets all traffic, and the rollout that waits opens. Needs the scope operate."""
    return _steered(rollouts.abort, model, operator, context, why)


@router.get(
    "/api/{model}/rollouts",
    summary="A model's rollouts, and the decisions that moved its traffic",
    responses=problems(401, 403, 404, 422, 503),
)
def history(
    model: str,
    operator: Known,
    context: InContext,
    state: Annotated[tuple[RolloutState, ...], Query(description="Only rollouts in one of these states.")] = (),
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only rollouts of this version.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> History:
    """Newest first. Needs the scope operate."""
    operated(context, model, operator)
    found = rollout_views.listed(context.engine, model, last=limit, states=state, version=version)
    decided = rollouts.history(context.engine, model, last=limit, states=state, version=version)
    return History(
        rollouts=[RolloutRow.model_validate(rollout) for rollout in found],
        decisions=[DecisionOut.model_validate(row) for row in decided],
    )


@router.get(
    "/api/{model}/rollouts/{number}",
    summary="All that is known of a rollout",
    responses=problems(401, 403, 404, 422, 503),
)
def show(model: str, number: Number, operator: Known, context: InContext, request: Request) -> RolloutDetail:
    """Its steps, decisions and evidence, and how long it will take. Needs the scope operate."""
    operated(context, model, operator)
    with known_rollout():
        detail = rollout_views.detail(context.engine, model, number)
    return RolloutDetail.of(detail, _expected(request, detail))


@router.get(
    "/api/{model}/rollouts/{number}/disagreements",
    summary="What a shadow answered otherwise than the stable version",
    responses=problems(401, 403, 404, 422, 503),
)
def disagreements(
    model: str, number: Number, operator: Known, context: InContext, limit: Annotated[int, Query(ge=1, le=500)] = 20
) -> Disagreements:
    """The newest among its newest 50,000 copies, newest first. Needs the scope operate."""
    operated(context, model, operator)
    with known_rollout():
        found = shadows.disagreements(context.engine, model, number, last=limit)
    return Disagreements(disagreements=[DisagreementOut.model_validate(one) for one in found])


def _steered(
    act: Callable[..., Rollout], model: str, operator: Identity, context: Context, why: ReasonIn
) -> RolloutOut:
    operated(context, model, operator)
    with _refused():
        steered = act(context.engine, model, reason=why.reason, actor=operator.subject, rollout=why.rollout)
    return _out(context, model, steered)


@contextmanager
def known_rollout() -> Iterator[None]:
    """What the store does not find is not there."""
    try:
        yield
    except CanariError as error:
        raise Problem(404, "unknown-rollout", sentence(error)) from None


@contextmanager
def _refused() -> Iterator[None]:
    """What the store refuses is at odds with how things stand: a conflict."""
    try:
        yield
    except CanariError as error:
        raise Problem(409, "not-possible-now", sentence(error)) from None


def _out(context: Context, model: str, rollout: Rollout | None, expected: Expectation | None = None) -> RolloutOut:
    wanted = rollouts.desired(context.engine)[model]
    opened = wanted.rollout
    return RolloutOut(
        rollout=rollout.id if rollout else None,
        state=rollout.state if rollout else None,
        mode=rollout.mode if rollout else None,
        stable=wanted.stable,
        canary=opened.canary if opened else None,
        weight=opened.weight if opened else 0,
        expected=ExpectedOut.model_validate(expected) if expected else None,
    )


def _expected(request: Request, detail: rollout_views.Detail) -> Expectation | None:
    """What is to be expected of a rollout without a verdict, from the status' figures of the last day."""
    if detail.pending is None:
        return None
    status: Cached[Status] = request.app.state.status
    day = next((found.last_day for found in status.get().models if found.name == detail.rollout.model), None)
    return expected_duration(
        detail.pending,
        requests_per_day=day.predictions if day else 0,
        votes_per_day=day.feedback if day else 0,
        satisfaction=day.satisfaction if day else None,
    )
