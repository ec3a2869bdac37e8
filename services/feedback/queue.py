"""Users' inputs that wait for a person's word before a version may learn from them."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from canari.errors import Problem
from canari.spec import ModelSpec
from canari.store import queue, reviews
from canari.store.queue import Place
from canari.tokens import Identity, Scope
from canari.types import Review
from services.feedback.context import Context, InContext
from services.feedback.identity import Known, require
from services.feedback.queue_schemas import QueuePage, ReviewIn, ReviewOut
from services.web.problems import problems

router = APIRouter(tags=["Curation"])
# What a browser may show as what it is. All else is bytes.
_SHOWN = {"image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"}
_TEXT = "text/plain; charset=utf-8"
_PLACE = re.compile(r"([rw])_([0-9.e-]{1,30})_([0-9a-f-]{36})")
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@router.get(
    "/api/{model}/queue",
    summary="Users' inputs that wait for review",
    responses=problems(401, 403, 404, 422, 503),
)
def page(
    model: str,
    curator: Known,
    context: InContext,
    review: Annotated[Review, Query(description="Those of which this was made.")] = Review.WAITING,
    before: Annotated[str | None, Query(description="The `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> QueuePage:
    """Those somebody called wrong come first, then the least certain. Needs the scope curate.

    Only inputs whose sender agreed that they are kept, while they are.
    """
    spec = _curated(context, model, curator)
    after = None if before is None else _place(before)
    found = queue.page(context.engine, model, review=review, after=after, limit=limit + 1)
    following = _text(found[limit - 1].place) if len(found) > limit else None
    return QueuePage.of(found[:limit], queue.counts(context.engine, model), spec, following=following)


@router.get(
    "/api/{model}/inputs/{prediction_id}",
    summary="A user's input, as it was sent",
    response_class=Response,
    responses={
        **problems(401, 403, 404, 422, 503),
        200: {
            "description": "The bytes. A text comes as an attachment; what a browser cannot show, as bytes.",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in ("image/*", "text/plain", "application/octet-stream")
            },
        },
    },
)
def show(model: str, prediction_id: UUID, curator: Known, context: InContext) -> Response:
    """For those who review it alone: nobody on the way may keep it. Needs the scope curate."""
    spec = _curated(context, model, curator)
    kept, content = reviews.look(context.engine, context.blobs, spec.name, prediction_id)
    said = kept.media_type.partition(";")[0].strip().lower()
    if said in _SHOWN:
        media_type, disposition = said, "inline"
    else:
        media_type = _TEXT if said.startswith("text/") else "application/octet-stream"
        disposition = f'attachment; filename="{prediction_id}{".txt" if media_type == _TEXT else ""}"'
    headers = {**_HEADERS, "Content-Type": media_type, "Content-Disposition": disposition}
    return Response(content, headers=headers)


@router.post(
    "/api/{model}/inputs/{prediction_id}/review",
    summary="Accept, relabel or refuse a user's input",
    responses=problems(401, 403, 404, 409, 415, 422, 503),
)
def review(model: str, prediction_id: UUID, said: ReviewIn, curator: Known, context: InContext) -> ReviewOut:
    """What is accepted or relabelled becomes a sample to learn from; no version is ever judged on it.

    The same again changes nothing; the last word holds until a version has learned from it. Needs the scope curate.
    """
    spec = _curated(context, model, curator)
    word = reviews.Word(said.decision, curator.subject, said.label)
    now = reviews.review(context.engine, context.blobs, spec, prediction_id, word, hash_of=context.tombstones.hash)
    return ReviewOut(prediction_id=prediction_id, review=now.review, label=now.label, changed=now.changed)


def _curated(context: Context, model: str, identity: Identity) -> ModelSpec:
    """The live specification of a model that the request's bearer may curate; raises Problem 403 or 404."""
    spec = context.spec(model)
    require(identity, Scope.CURATE, spec)
    return spec


def _text(place: Place) -> str:
    return f"{'r' if place.unopposed else 'w'}_{place.certainty!r}_{place.prediction_id}"


def _place(text: str) -> Place:
    match = _PLACE.fullmatch(text)
    with suppress(ValueError):
        if match is not None:
            return Place(match[1] == "r", float(match[2]), UUID(match[3]))
    told = "give the `next` of the page before"
    detail = f"query.before: {text!r} is no place in the queue: {told}."
    raise Problem(422, "invalid-request", detail, errors=[{"field": "query.before", "message": told}])
