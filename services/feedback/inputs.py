"""Inputs that bentos hand in to be kept: asked again here whether they may be. The gateway has no route to this."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from canari.errors import Problem
from canari.runtime.client import INPUTS
from canari.runtime.inputs import MEDIA_TYPE, MOST_BYTES, unpack
from canari.store import inputs
from canari.store.inputs import Arrived
from canari.tokens import Identity
from services.feedback.context import InContext
from services.feedback.identity import require_bento

router = APIRouter(include_in_schema=False)
PATHS = rf"{INPUTS}/[^/]+"
MOST_BODY_BYTES = MOST_BYTES + 64 * 1024
_KEPT_TYPES = {"image/jpeg", "image/png", "image/gif", "image/bmp", "image/webp", "text/plain"}

Bento = Annotated[Identity, Depends(require_bento)]


async def packed(request: Request) -> bytes:
    """The request's body; raises Problem 415."""
    if request.headers.get("content-type", "") != MEDIA_TYPE:
        raise Problem(415, "unsupported-media-type", f"Send an input as {MEDIA_TYPE}.")
    return await request.body()


@router.put(INPUTS + "/{prediction_id}", status_code=201)
def keep(
    prediction_id: UUID, bento: Bento, body: Annotated[bytes, Depends(packed)], context: InContext, response: Response
) -> None:
    """Keep an input, as the model's live policy says now: 201, 200 where it was kept before, 204 where it may not be.

    The model and version are the token's. Kept or not, the bento needs it no more.
    """
    assert bento.version is not None
    [model] = bento.models
    try:
        head, content = unpack(body)
    except ValueError as error:
        raise Problem(422, "invalid-input", f"This is no input: {error}.") from None
    if head.prediction_id != prediction_id or head.media_type not in _KEPT_TYPES:
        raise Problem(422, "invalid-input", "The input's first line names another prediction, or no type that is kept.")
    spec = context.spec(model)
    if spec.retains == "never" or (spec.retains == "consented" and not head.consented):
        response.status_code = 204
        return
    arrived = Arrived(model, prediction_id, bento.version, head.subject, head.media_type, head.consented)
    new = inputs.keep(
        context.engine, context.blobs, arrived, content, spec.data.retain_days, hash_of=context.tombstones.hash
    )
    response.status_code = {None: 204, False: 200, True: 201}[new]
