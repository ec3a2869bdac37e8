"""Versions that were made elsewhere: their archives come in, then they get a number."""

from __future__ import annotations

import json
from typing import IO, Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.exc import DataError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from canari.archive import Built, built
from canari.archives import Incoming
from canari.errors import CanariError, Problem
from canari.spec import ModelSpec
from canari.store import references, rollouts, samples, versions
from canari.types import manifest_digest
from services.feedback.context import Context, InContext
from services.feedback.identity import Known, operated
from services.feedback.models import version_out
from services.feedback.version_schemas import ArchiveOut, PushedOut, VersionDetail, VersionIn, VersionList
from services.web.problems import problems, sentence

router = APIRouter(tags=["Versions"])
ARCHIVE_PATHS = r"/api/[^/]+/archives/[^/]+"
VERSION_PATHS = r"/api/[^/]+/versions"
# A manifest names every sample that a version learned from.
MOST_VERSION_BYTES = 64 * 2**20
_SHOWN = 200

Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="The archive's SHA-256, in hexadecimal digits.")]


@router.put(
    "/api/{model}/archives/{sha256}",
    status_code=201,
    summary="Send a version's bento",
    responses={
        **problems(400, 401, 403, 404, 413, 422, 503),
        200: {"model": ArchiveOut, "description": "It was here before."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def put_archive(
    model: str, sha256: Sha256, operator: Known, request: Request, context: InContext, response: Response
) -> ArchiveOut:
    """The body is the archive itself. What it holds must be a bento of this model, with its labels and input.

    Sending it again changes nothing. Needs the scope operate.
    """
    spec = await run_in_threadpool(operated, context, model, operator)
    _refuse_too_long(request, context)
    with Incoming(context.archives) as incoming:
        try:
            async for block in request.stream():
                await run_in_threadpool(incoming.write, block)
        except ClientDisconnect:
            raise Problem(400, "incomplete-body", "The archive ended before it was complete: send it again.") from None
        if incoming.sha256 != sha256:
            detail = f"What arrived has the SHA-256 {incoming.sha256}, not {sha256}: send it again."
            raise Problem(422, "digest-mismatch", detail, sha256=incoming.sha256)
        known = await run_in_threadpool(_take, context, incoming, spec)
    response.status_code = 200 if known else 201
    return ArchiveOut(sha256=sha256, bytes=incoming.size)


@router.post(
    "/api/{model}/versions",
    status_code=201,
    summary="Give a sent bento the model's next number",
    responses={
        **problems(401, 403, 404, 415, 422, 503),
        200: {"model": PushedOut, "description": "This archive has a number; it keeps it."},
    },
)
def add_version(model: str, pushed: VersionIn, operator: Known, context: InContext, response: Response) -> PushedOut:
    """The version is ready at once. It gets no traffic yet; a model's first takes all. Needs the scope operate."""
    spec = operated(context, model, operator)
    try:
        stored = context.archives.open(pushed.archive)
    except KeyError:
        detail = f"There is no archive {pushed.archive}: send it to /api/{spec.name}/archives/{pushed.archive} first."
        raise Problem(404, "unknown-archive", detail) from None
    with stored.file as file:
        found = _built(file, spec)
    if pushed.spec_hash not in {None, found.spec.hash}:
        detail = f"The archive was built with the specification {found.spec.hash}, not with {pushed.spec_hash}."
        raise Problem(422, "spec-differs", detail, spec_hash=found.spec.hash)
    try:
        number, new = _register(context, found, pushed)
    except DataError as error:
        said = str(error.orig).partition("\n")[0]
        raise Problem(
            422, "invalid-request", f"The database cannot hold the metrics or the manifest: {said}."
        ) from None
    response.status_code = 201 if new else 200
    return PushedOut(number=number)


@router.get(
    "/api/{model}/versions",
    summary="A model's versions, with how good they are",
    responses=problems(401, 403, 404, 503),
)
def list_versions(model: str, operator: Known, context: InContext) -> VersionList:
    """Newest first. Needs the scope operate."""
    spec = operated(context, model, operator)
    wanted = rollouts.desired(context.engine)[spec.name]
    found = versions.versions(context.engine, spec.name)
    return VersionList(versions=[VersionDetail.of(version_out(v, wanted), v) for v in found])


def _refuse_too_long(request: Request, context: Context) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > context.archive_max_bytes:
        detail = f"The archive has {declared} bytes; at most {context.archive_max_bytes} are accepted here."
        raise Problem(413, "body-too-large", detail)


def _take(context: Context, incoming: Incoming, spec: ModelSpec) -> bool:
    """Look into a received archive and keep it; whether it was here before."""
    incoming.flush()
    with incoming.path.open("rb") as file:
        _built(file, spec)
    known = context.archives.has(incoming.sha256)
    if not known:
        incoming.keep()
    return known


def _built(file: IO[bytes], live: ModelSpec) -> Built:
    """What an archived bento was built with; raises Problem 422 unless it can serve under the live specification."""
    try:
        found = built(file)
    except CanariError as error:
        raise Problem(422, "not-a-bento", sentence(error)) from None
    faults = differences(found.spec, live)
    if faults:
        told = "; ".join(f"{field}: {message}" for field, message in faults)
        detail = f"The bento was built with another specification than {live.name} has here: {told}."
        errors = [{"field": field, "message": message} for field, message in faults]
        raise Problem(422, "spec-differs", detail, errors=errors)
    return found


def differences(built: ModelSpec, live: ModelSpec) -> list[tuple[str, str]]:
    """What a bento and the live specification must agree on and do not: the field, and both values."""
    ours, theirs = _agreed(live), _agreed(built)
    return [
        (field, f"it is {_short(theirs[field])} in the bento and {_short(ours[field])} here")
        for field in ours
        if theirs[field] != ours[field]
    ]


def _agreed(spec: ModelSpec) -> dict[str, Any]:
    held = spec.document()
    parts = {f"input.{name}": value for name, value in held["input"].items()}
    return {"name": held["name"], "labels": held["labels"], **parts}


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _register(context: Context, found: Built, pushed: VersionIn) -> tuple[int, bool]:
    digest = None
    if pushed.manifest is not None:
        if pushed.manifest.get("model") != found.spec.name or not isinstance(pushed.manifest.get("samples"), list):
            detail = f"The manifest must hold `model`: {found.spec.name!r}, and a list `samples`."
            raise Problem(422, "invalid-request", detail)
        digest = manifest_digest(pushed.manifest)
        samples.put_manifest(context.engine, digest, found.spec.name, pushed.manifest)
    number, new = versions.register(
        context.engine,
        found.spec,
        archive=pushed.archive,
        metrics=pushed.metrics,
        synthetic=pushed.synthetic,
        manifest_digest=digest,
    )
    if found.reference:
        references.put(context.engine, found.spec.name, number, found.reference)
    return number, new
