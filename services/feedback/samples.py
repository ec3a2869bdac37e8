"""What the team adds to learn from, sent from elsewhere: the bytes among the blobs, their description in the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from canari import dataset
from canari.blobs import samples_folder
from canari.curation import news
from canari.errors import Problem
from canari.spec import ModelSpec
from canari.store import rollouts, samples
from canari.tokens import Identity, Scope
from canari.types import Origin, Sample
from services.feedback import contents
from services.feedback.context import Context, InContext
from services.feedback.identity import Known, require
from services.feedback.sample_schemas import NewImages, SampleCount, SampleCounts, SampleOut
from services.feedback.schemas import NO_NUL
from services.web.problems import problems

router = APIRouter(tags=["Samples"])
PATHS = r"/api/[^/]+/samples"
MOST_BYTES = 64 * 2**20

Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="The content's SHA-256, in hexadecimal digits.")]


async def _body(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/api/{model}/samples",
    status_code=201,
    summary="Add a sample to learn from",
    responses={
        **problems(400, 401, 403, 404, 409, 413, 422, 503),
        200: {"model": SampleOut, "description": "It was here before, under the same label."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "image/*": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
def add(
    model: str,
    curator: Known,
    context: InContext,
    response: Response,
    content: Annotated[bytes, Depends(_body)],
    label: Annotated[str, Query(description="What it is: one of the model's labels.")],
    source: Annotated[str, Query(max_length=500, pattern=NO_NUL, description="What you call it, for people.")] = "",
) -> SampleOut:
    """The body is the sample as a request to the model would hold it.

    Whether it is learned from or judged on follows from its content, for ever. Sending it again changes nothing. Needs
    the scope curate.
    """
    spec = _allowed(context, model, curator)
    if label not in spec.labels:
        detail = f"{label!r} is not one of the labels of {spec.name}: {', '.join(spec.labels)}."
        raise Problem(422, "unknown-label", detail, labels=list(spec.labels))
    contents.check(content, spec.input)
    folder = FilePath(samples_folder(spec.name))
    sent = dataset.described(content, label, folder, source or f"sent by {curator.subject}", spec)
    sample = replace(sent, path=folder / sent.sha256)
    response.status_code = 201 if _keep(context, spec.name, sample, content) else 200
    kept = samples.find(context.engine, spec.name, sample.sha256)
    return SampleOut.of(kept.sample if kept else sample, synthetic=False)


@router.get(
    "/api/{model}/samples",
    summary="How many samples a model has",
    responses=problems(401, 403, 404, 503),
)
def count(model: str, curator: Known, context: InContext) -> SampleCounts:
    """By label, side and origin. Needs the scope curate or operate."""
    spec = _allowed(context, model, curator, looking=True)
    found = samples.counts(context.engine, spec.name)
    return SampleCounts(
        labels=list(spec.labels),
        total=sum(one.n for one in found if not one.synthetic),
        counts=[
            SampleCount(
                label=one.label, evaluation=one.evaluation, origin=one.origin, synthetic=one.synthetic, count=one.n
            )
            for one in found
        ],
    )


@router.get(
    "/api/{model}/samples/{sha256}",
    summary="What is known of a sample",
    responses=problems(401, 403, 404, 422, 503),
)
def show(model: str, sha256: Sha256, curator: Known, context: InContext) -> SampleOut:
    """Needs the scope curate or operate."""
    spec = _allowed(context, model, curator, looking=True)
    known = samples.find(context.engine, spec.name, sha256)
    if known is None:
        raise _unknown(spec, sha256)
    return SampleOut.of(known.sample, synthetic=known.synthetic)


@router.delete(
    "/api/{model}/samples/{sha256}",
    status_code=204,
    summary="Take a sample away",
    responses=problems(401, 403, 404, 422, 503),
)
def remove(model: str, sha256: Sha256, curator: Known, context: InContext) -> None:
    """No later version learns from it or is judged on it; those that did stay as they are. Needs the scope curate."""
    spec = _allowed(context, model, curator)
    if not samples.remove(context.engine, spec.name, sha256):
        raise _unknown(spec, sha256)
    context.blobs.delete(samples_folder(spec.name), sha256)


@router.get(
    "/api/{model}/new-images",
    summary="How many samples came since the stable version was made",
    responses=problems(401, 403, 404, 503),
)
def new_images(model: str, curator: Known, context: InContext) -> NewImages:
    """And from how many on the model is trained again. Needs the scope curate or operate."""
    spec = _allowed(context, model, curator, looking=True)
    new, newest = samples.new(context.engine, spec.name, news(spec.data.train_on))
    stable = rollouts.desired(context.engine)[spec.name].stable
    return NewImages(stable=stable, new=new, threshold=spec.triggers.new_samples, newest=newest)


def _allowed(context: Context, model: str, identity: Identity, *, looking: bool = False) -> ModelSpec:
    spec = context.spec(model)
    if not (looking and identity.may(Scope.OPERATE, spec.name)):
        require(identity, Scope.CURATE, spec)
    return spec


def _keep(context: Context, model: str, sample: Sample, content: bytes) -> bool:
    """Keep a sample; whether it is new. Raises Problem 409 where it may not be, or is there under another label."""
    with context.engine.connect() as connection:
        erased = samples.is_erased(connection, model, sample.sha256)
    if erased:
        detail = "This very content was erased because somebody asked for it: it is not taken in again."
        raise Problem(409, "erased", detail)
    known = samples.find(context.engine, model, sample.sha256)
    if known is not None and known.sample.label != sample.label:
        raise Problem(
            409,
            "known-under-another-label",
            f"This content is a sample of {known.sample.label!r} already. If {sample.label!r} is right, take it away "
            f"with DELETE /api/{model}/samples/{sample.sha256}, and send it again.",
            label=known.sample.label,
            sha256=sample.sha256,
        )
    context.blobs.put(samples_folder(model), content)
    if known is None:
        return samples.add(context.engine, model, [sample]) > 0
    if known.synthetic or known.sample.origin is not Origin.TEAM:
        samples.adopt(context.engine, model, sample)
        return True
    return False


def _unknown(spec: ModelSpec, sha256: str) -> Problem:
    return Problem(404, "unknown-sample", f"{spec.name} has no sample {sha256}.")
