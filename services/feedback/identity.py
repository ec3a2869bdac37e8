"""Who asks, and whether they may."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request

from canari.errors import Problem
from canari.spec import ModelSpec
from canari.tokens import SESSION_COOKIE, Identity, Scope, bearer
from services.feedback.context import Context, InContext

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def refuse_cross_site(request: Request) -> None:
    """Refuse a write that another site's page made a browser send; raises Problem 403.

    Browsers say where a request comes from in Sec-Fetch-Site, older ones in Origin; other clients send neither, and
    no page can make them send a cookie.
    """
    if request.method in _SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site in {"same-origin", "none"}
    else:
        own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not own:
        raise Problem(403, "cross-site", "This request was sent by another site's page, so its cookie is not heeded.")


def who(request: Request, context: InContext) -> Identity | None:
    """The bearer of the request's token or session, None where it has neither; raises Problem 401 or 403."""
    authorization = request.headers.get("authorization")
    token = bearer(authorization, request.cookies.get(SESSION_COOKIE))
    if token is None:
        return None
    if not authorization:
        refuse_cross_site(request)
    return context.verifier().verify(token)


Who = Annotated[Identity | None, Depends(who)]


def require(identity: Identity | None, scope: Scope, spec: ModelSpec) -> None:
    """Let pass who holds `scope` for the model, and anyone where the model admits visitors.

    Raises Problem: 401 without an identity, 403 with one that is not enough.
    """
    open_to_anyone = spec.access.anonymous and scope in {Scope.PREDICT, Scope.FEEDBACK}
    if identity is None and not open_to_anyone:
        raise _unauthorised(f"{spec.name} asks for a token or a session with the scope {scope}.")
    if identity is None or identity.may(scope, spec.name) or (identity.visitor and open_to_anyone):
        return
    raise Problem(403, "forbidden", f"The token or session does not hold the scope {scope} for {spec.name}.")


def subject_of(identity: Identity | None, prediction_id: UUID) -> str:
    """Who speaks of a prediction: visitors without a session share one name per prediction."""
    return identity.subject if identity else f"anonymous:{prediction_id}"


def require_identity(identity: Who) -> Identity:
    """The identity of a request that must have one; raises Problem 401."""
    if identity is None:
        raise _unauthorised("A token or a session is needed: Authorization: Bearer TOKEN, or POST /api/session.")
    return identity


Known = Annotated[Identity, Depends(require_identity)]


def operated(context: Context, model: str, identity: Identity) -> ModelSpec:
    """The live specification of a model that the request's bearer may operate; raises Problem 403 or 404."""
    spec = context.spec(model)
    require(identity, Scope.OPERATE, spec)
    return spec


def require_bento(identity: Annotated[Identity, Depends(require_identity)]) -> Identity:
    """The identity of a bento: its token records for one version of one model; raises Problem 401 or 403."""
    if Scope.RECORD not in identity.scopes or identity.version is None or len(identity.models) != 1:
        raise Problem(403, "forbidden", "Only a bento's own token, bound to a model and a version, is good for this.")
    return identity


def _unauthorised(detail: str) -> Problem:
    return Problem(401, "unauthorised", detail, headers={"WWW-Authenticate": 'Bearer realm="canari"'})
