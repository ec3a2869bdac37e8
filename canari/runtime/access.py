"""Who asks, and by which arm of the split a request came."""

from __future__ import annotations

from collections.abc import Mapping

from canari.errors import Problem
from canari.spec import ModelSpec
from canari.tokens import SESSION_COOKIE, Scope, Verifier, bearer
from canari.types import Arm, RequestKind

_PIN = "pin"


def identify(spec: ModelSpec, verifier: Verifier | None, headers: Mapping[bytes, bytes]) -> str | None:
    """The subject who asks, None for a visitor the model admits unnamed.

    Raises Problem: 401 where a token is wrong or needed and missing, 403 where it is not for predicting here.
    """
    token = None
    if verifier:
        token = bearer(headers.get(b"authorization", b"").decode("latin-1"), _session(headers.get(b"cookie")))
    if verifier and token:
        identity = verifier.verify(token)
        if not (identity.may(Scope.PREDICT, spec.name) or (identity.visitor and spec.access.anonymous)):
            raise Problem(403, "forbidden", f"The token does not hold the scope predict for the model {spec.name!r}.")
        return identity.subject
    if not spec.access.anonymous:
        raise Problem(
            401,
            "unauthorised",
            f"The model {spec.name!r} answers only those who show a token: Authorization: Bearer TOKEN.",
            headers={"WWW-Authenticate": 'Bearer realm="canari"'},
        )
    return None


def route_of(stamp: bytes | None, version: int) -> tuple[RequestKind, int, int]:
    """How a request came to `version`, by the gateway's ``x-canari-arm`` stamp, with the stamp's rollout and step."""
    if not stamp:
        return RequestKind.DIRECT, 0, 0
    text = stamp.decode("latin-1")
    if text == _PIN:
        return RequestKind.PIN, 0, 0
    arm = Arm.parse(text)
    if arm is None:
        return RequestKind.DIRECT, 0, 0
    # A copy that the gateway mirrors still bears the stamp of the version that answers.
    kind = RequestKind.ARM if arm.version == version else RequestKind.SHADOW
    return kind, arm.rollout, arm.step


def _session(cookie: bytes | None) -> str | None:
    if cookie:
        for part in cookie.decode("latin-1").split(";"):
            name, _, value = part.strip().partition("=")
            if name == SESSION_COOKIE:
                return value
    return None
