"""What bentos and launchers ask. The gateway has no route to any of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import StreamingResponse

from canari.errors import Problem
from canari.runtime.client import PREDICTIONS, REVOCATIONS
from canari.store import access
from canari.tokens import Identity
from services.feedback import intake
from services.feedback.context import InContext
from services.feedback.identity import require_bento
from services.feedback.schemas import Refusal, Revocations, Taken

router = APIRouter(include_in_schema=False)

Bento = Annotated[Identity, Depends(require_bento)]


async def ndjson(request: Request) -> bytes:
    """The request's body, still packed; raises Problem 415."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-ndjson":
        raise Problem(415, "unsupported-media-type", "Send predictions as application/x-ndjson, one JSON per line.")
    return await request.body()


@router.post(PREDICTIONS)
def take_in(request: Request, bento: Bento, packed: Annotated[bytes, Depends(ndjson)], context: InContext) -> Taken:
    """Append predictions. The model and version are the token's, whatever the rows say."""
    assert bento.version is not None
    [model] = bento.models
    rows, refused = intake.parse(intake.unpack(packed, request.headers.get("content-encoding", "").strip().lower()))
    inserted, duplicates, unfit = intake.keep(
        context.engine, model, bento.version, rows, hash_of=context.tombstones.hash
    )
    refusals = [Refusal(line=line, why=why) for line, why in sorted(refused + unfit)]
    return Taken(inserted=inserted, duplicates=duplicates, refused=refusals)


@router.get(REVOCATIONS, dependencies=[Depends(require_bento)])
def revocations(context: InContext) -> Revocations:
    """Tokens that are to be refused."""
    return Revocations(revoked=access.revoked(context.engine))


@router.get("/internal/bentos/{sha256}", dependencies=[Depends(require_bento)])
def archive(sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")], context: InContext) -> StreamingResponse:
    """A version's bento, by the SHA-256 of its archive."""
    try:
        stored = context.archives.open(sha256)
    except KeyError:
        raise Problem(404, "unknown-archive", f"There is no bento archive {sha256}.") from None
    headers = {"Content-Length": str(stored.size)}
    return StreamingResponse(stored.blocks(), media_type="application/gzip", headers=headers)
