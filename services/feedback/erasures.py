"""Erasing a person: by an administrator, or by themselves. It is begun here, and goes on after the answer."""

from __future__ import annotations

from threading import Timer
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Query, Response
from loguru import logger

from canari.errors import CanariError, Problem
from canari.store import erasures
from canari.tokens import ALL_MODELS, SESSION_COOKIE, Identity, Scope
from canari.tombstones import Tombstone
from services.feedback.context import Context, InContext
from services.feedback.erasure_schemas import ErasureIn, ErasureList, ErasureOut
from services.feedback.identity import Known
from services.web.problems import problems, sentence

router = APIRouter(tags=["Erasures"])
THEMSELVES = "the person"
# Until one looks again whether a training has ended.
_TRAINING_SECONDS = 60.0


@router.post(
    "/api/erasures",
    status_code=202,
    summary="Erase a person",
    responses=problems(401, 403, 415, 422, 503),
)
def erase(
    wanted: ErasureIn, admin: Known, context: InContext, tasks: BackgroundTasks, response: Response
) -> ErasureOut:
    """What they sent, said and were known by goes, and what arrives late stays out. `Location` tells how far it is.

    Needs the scope admin for all models.
    """
    _require_admin(admin)
    return _begin(context, tasks, response, wanted, admin.subject)


@router.delete(
    "/api/me/data",
    status_code=202,
    summary="Erase what is kept of oneself",
    responses=problems(401, 403, 422, 503),
)
def erase_me(
    me: Known,
    context: InContext,
    tasks: BackgroundTasks,
    response: Response,
    access: Annotated[bool, Query(description="Whether one's tokens and account go too.")] = False,
) -> ErasureOut:
    """As `POST /api/erasures`, for the bearer of the token or session. A visitor's session ends with it."""
    if me.visitor or access:
        response.delete_cookie(SESSION_COOKIE, path="/", secure=context.secure_cookies, httponly=True, samesite="lax")
    return _begin(context, tasks, response, ErasureIn(subject=me.subject, access=access), THEMSELVES)


@router.get("/api/erasures", summary="Erasures", responses=problems(401, 403, 503))
def list_erasures(
    admin: Known,
    context: InContext,
    open: Annotated[bool, Query(description="Those alone that are not done.")] = False,  # noqa: A002
) -> ErasureList:
    """The newest hundred, newest first. Whom they were of is not kept. Needs the scope admin for all models."""
    _require_admin(admin)
    found = erasures.newest(context.engine, open_only=open)
    return ErasureList(erasures=[ErasureOut.of(one) for one in found])


@router.get("/api/erasures/{number}", summary="An erasure, and its certificate", responses=problems(401, 403, 404, 503))
def show(number: UUID, identity: Known, context: InContext) -> ErasureOut:
    """Needs the scope admin for all models, or to be whom it is of."""
    found = erasures.read(context.engine, number)
    own = found is not None and found.tombstone.subject_hash == context.tombstones.hash(identity.subject)
    if not own:
        _require_admin(identity)
    if found is None:
        raise Problem(404, "unknown-erasure", f"There is no erasure {number}.")
    return ErasureOut.of(found)


def _begin(
    context: Context, tasks: BackgroundTasks, response: Response, wanted: ErasureIn, requested_by: str
) -> ErasureOut:
    try:
        one = context.eraser.begin(wanted.subject, requested_by, access=wanted.access, reason=wanted.reason)
    except CanariError as error:
        raise Problem(422, "invalid-request", sentence(error)) from None
    tasks.add_task(_finish, context, one, wanted.subject)
    response.headers["Location"] = f"/api/erasures/{one.id}"
    found = erasures.read(context.engine, one.id)
    assert found is not None
    return ErasureOut.of(found)


def _finish(context: Context, one: Tombstone, subject: str) -> None:
    """What fails here is gone on with by the next start, or by the retention job."""
    try:
        done = context.eraser.finish(one, [subject])
    except Exception:  # noqa: BLE001 - nobody waits for the outcome; it is to be read in the log
        logger.opt(exception=True).error("the erasure {} stopped, and is still open", one.id)
    else:
        logger.info("the erasure {} is {}", one.id, "done" if done else "open: a training is running")
        if done is None:
            again = Timer(_TRAINING_SECONDS, _finish, (context, one, subject))
            again.daemon = True
            again.start()
    if one.access:
        context.forget_revocations()


def _require_admin(identity: Identity) -> None:
    if not (identity.may(Scope.ADMIN) and ALL_MODELS in identity.models):
        raise Problem(403, "forbidden", "The token or session does not hold the scope admin for all models.")
