"""Who one is: logging in and out, and visitors' sessions. A session is a token in a cookie."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import timedelta
from uuid import uuid4

from fastapi import APIRouter, Depends, Request, Response

from canari.errors import CanariError, Problem
from canari.store import access
from canari.tokens import SESSION_COOKIE, VISITOR, Identity, Scope, issue
from services.feedback.context import Context, InContext
from services.feedback.identity import Who, refuse_cross_site, who
from services.feedback.schemas import Login, Me
from services.web.problems import problems

router = APIRouter(tags=["Sessions"])
_SESSION = timedelta(hours=12)
_VISIT = timedelta(days=180)
# Hashing a password takes 64 MiB and a core for a moment: two at once, the others wait a little or come back.
_HASHING = threading.BoundedSemaphore(2)
_HASHING_WAIT_SECONDS = 5.0


@router.get("/api/me", summary="Who the request comes from", responses=problems(401, 503))
def me(identity: Who) -> Me:
    """The subject, scopes and end of the token or session; a null subject without one."""
    return _me(identity)


@router.post(
    "/api/session",
    summary="Log in",
    dependencies=[Depends(refuse_cross_site)],
    responses=problems(401, 403, 415, 422, 429, 503),
)
def log_in(login: Login, context: InContext, response: Response) -> Me:
    """Sets a session cookie for 12 hours. After five failures a name has to wait a few minutes."""
    wait = context.attempts.wait_seconds(login.name)
    if wait:
        raise _busy(f"Too many failed logins for {login.name}: wait before the next.", wait)
    account = _authenticate(context, login)
    if account is None:
        context.attempts.failed(login.name)
        raise Problem(401, "wrong-password", "The name or the password is wrong.")
    context.attempts.succeeded(login.name)
    token, identity = issue(
        context.key, subject=account.subject, scopes=account.scopes, models=account.models, lifetime=_SESSION
    )
    access.add_token(context.engine, identity, note="session")
    _set_cookie(response, context, token, _SESSION)
    return _me(identity)


@router.delete(
    "/api/session",
    status_code=204,
    summary="Log out",
    dependencies=[Depends(refuse_cross_site)],
    responses=problems(403, 503),
)
def log_out(request: Request, context: InContext, response: Response) -> None:
    """Ends the session: its cookie goes, and the token in it is refused everywhere within half a minute."""
    response.delete_cookie(SESSION_COOKIE, path="/", secure=context.secure_cookies, httponly=True, samesite="lax")
    identity = _session_of(request, context)
    if identity and not identity.visitor:
        try:
            access.revoke(context.engine, identity.token_id)
        except CanariError:
            return
        context.forget_revocations()


@router.post(
    "/api/session/anonymous",
    status_code=201,
    summary="Be told from other visitors",
    dependencies=[Depends(refuse_cross_site)],
    responses={**problems(403, 503), 200: {"model": Me, "description": "There is a session already; it stays."}},
)
def visit(request: Request, context: InContext, response: Response) -> Me:
    """Sets a cookie with a random name for half a year, so that a person's votes are theirs; it holds nothing else."""
    identity = _session_of(request, context)
    if identity:
        response.status_code = 200
        return _me(identity)
    scopes: Collection[Scope] = (Scope.PREDICT, Scope.FEEDBACK)
    # No models: a visitor's token never outlives a model's decision to admit visitors.
    token, identity = issue(context.key, subject=f"{VISITOR}{uuid4()}", scopes=scopes, models=(), lifetime=_VISIT)
    _set_cookie(response, context, token, _VISIT)
    return _me(identity)


def _session_of(request: Request, context: Context) -> Identity | None:
    try:
        return who(request, context)
    except Problem:
        return None


def _authenticate(context: Context, login: Login) -> access.Account | None:
    if not _HASHING.acquire(timeout=_HASHING_WAIT_SECONDS):
        raise _busy("Too many people are logging in at once.", _HASHING_WAIT_SECONDS)
    try:
        return access.authenticate(context.engine, login.name, login.password)
    finally:
        _HASHING.release()


def _busy(detail: str, seconds: float) -> Problem:
    return Problem(429, "too-many-attempts", detail, headers={"Retry-After": str(int(seconds) + 1)})


def _set_cookie(response: Response, context: Context, token: str, lifetime: timedelta) -> None:
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=int(lifetime.total_seconds()),
        path="/",
        secure=context.secure_cookies,
        httponly=True,
        samesite="lax",
    )


def _me(identity: Identity | None) -> Me:
    if identity is None:
        return Me(subject=None, visitor=True)
    return Me(
        subject=identity.subject,
        visitor=identity.visitor,
        scopes=sorted(identity.scopes),
        models=sorted(identity.models),
        expires_at=identity.expires_at,
    )
