"""What the gateway sends here because no version can take it: unknown models, absent versions, none ready yet.

On one machine Envoy answers these itself; a route of the Gateway API cannot.
"""

from __future__ import annotations

from fastapi import APIRouter, Request

from canari.store import rollouts
from canari.traffic.envoy import VERSION_HEADER
from canari.traffic.refusals import no_such_version, no_version_ready
from services.feedback.context import InContext

router = APIRouter(include_in_schema=False)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


@router.api_route("/api/{model}/predict", methods=_METHODS)
@router.api_route("/v2/models/{model}", methods=_METHODS)
@router.api_route("/v2/models/{model}/{rest:path}", methods=_METHODS)
def answer(model: str, request: Request, context: InContext, rest: str = "") -> None:
    """Raises the problem that says why no version answers."""
    context.spec(model)
    head, _, tail = rest.partition("/")
    asked = request.headers.get(VERSION_HEADER) or (tail.partition("/")[0] if head == "versions" else None)
    if asked is None:
        raise no_version_ready(model)
    wanted = rollouts.desired(context.engine)[model].versions
    raise no_such_version(model, [number for number in wanted if str(number) != asked])
