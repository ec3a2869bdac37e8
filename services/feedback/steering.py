"""Steering a model's traffic by hand: the decision is recorded here, and the controller acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Body

from canari.errors import CanariError, Problem
from canari.store import rollouts, versions
from canari.types import Rollout
from services.feedback.context import Context, InContext
from services.feedback.identity import Known, operated
from services.feedback.version_schemas import ReasonIn, RolloutIn, RolloutOut
from services.web.problems import problems, sentence

router = APIRouter(tags=["Rollouts"])
_PROBLEMS = problems(401, 403, 404, 409, 415, 422, 503)
Reason = Annotated[ReasonIn, Body(default_factory=ReasonIn)]


@router.post("/api/{model}/rollout", summary="Give a version a share of the traffic", responses=_PROBLEMS)
def deploy(model: str, wanted: RolloutIn, operator: Known, context: InContext) -> RolloutOut:
    """Less than 100 opens a rollout beside the stable version, or moves the open one; 100 makes the version stable.

    A model's first version takes all, whatever the weight. Needs the scope operate.
    """
    operated(context, model, operator)
    if not any(v.number == wanted.version for v in versions.versions(context.engine, model)):
        raise Problem(404, "unknown-version", f"{model} has no version {wanted.version}.")
    with _refused():
        rollout = rollouts.deploy(context.engine, model, wanted.version, weight=wanted.weight, actor=operator.subject)
    return _out(context, model, rollout)


@router.post("/api/{model}/rollout/promote", summary="Make the version on trial the stable one", responses=_PROBLEMS)
def promote(model: str, operator: Known, context: InContext, why: Reason) -> RolloutOut:
    """Settles the open rollout. Needs the scope operate."""
    operated(context, model, operator)
    with _refused():
        rollout = rollouts.promote(context.engine, model, reason=why.reason, actor=operator.subject)
    return _out(context, model, rollout)


@router.post("/api/{model}/rollout/rollback", summary="Give the stable version all traffic again", responses=_PROBLEMS)
def roll_back(model: str, operator: Known, context: InContext, why: Reason) -> RolloutOut:
    """Settles the open rollout. Needs the scope operate."""
    operated(context, model, operator)
    with _refused():
        rollout = rollouts.roll_back(context.engine, model, reason=why.reason, actor=operator.subject)
    return _out(context, model, rollout)


@contextmanager
def _refused() -> Iterator[None]:
    """What the store refuses is at odds with how things stand: a conflict."""
    try:
        yield
    except CanariError as error:
        raise Problem(409, "not-possible-now", sentence(error)) from None


def _out(context: Context, model: str, settled: Rollout | None) -> RolloutOut:
    stable, opened = rollouts.desired(context.engine)[model]
    return RolloutOut(
        rollout=settled.id if settled else None,
        state=settled.state if settled else None,
        stable=stable,
        canary=opened.canary if opened else None,
        weight=opened.weight if opened else 0,
    )
