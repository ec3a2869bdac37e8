"""Taking in a batch of predictions: a bad row is refused alone and never holds up the others."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg2
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from canari.errors import Problem
from canari.ids import first_id
from canari.store import predictions
from canari.store.latecomers import HashOf
from canari.types import Prediction

MOST_BYTES = 64 * 2**20
MOST_LINES = 10_000
_ROW = TypeAdapter(Prediction)
# An id dated far ahead would sit in the default partition and keep its month from getting one of its own.
_AHEAD = timedelta(days=1)

Numbered = tuple[int, Prediction]
Refused = tuple[int, str]


def unpack(body: bytes, encoding: str) -> bytes:
    """A body without its Content-Encoding (none or gzip); raises Problem 400, 413 or 415."""
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise Problem(415, "unsupported-encoding", f"Content-Encoding may be gzip, not {encoding}.")
    inflater = zlib.decompressobj(wbits=31)
    try:
        content = inflater.decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise Problem(400, "bad-gzip", f"The body is not gzip: {error}.") from error
    if len(content) > MOST_BYTES:
        raise Problem(413, "body-too-large", f"The body is over {MOST_BYTES} bytes when unpacked: send less.")
    if not inflater.eof:
        raise Problem(400, "bad-gzip", "The body is not gzip: it ends too early.")
    return content


def parse(body: bytes) -> tuple[list[Numbered], list[Refused]]:
    """The rows of NDJSON, and the lines that are none, each with its number from 1; raises Problem 413."""
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if len(lines) > MOST_LINES:
        raise Problem(413, "body-too-large", f"The body has {len(lines)} lines; send at most {MOST_LINES} at once.")
    rows: list[Numbered] = []
    refused: list[Refused] = []
    latest = first_id(datetime.now(UTC) + _AHEAD)
    for number, line in lines:
        try:
            row = _ROW.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            refused.append((number, f"{where}: {first['msg']}" if where else first["msg"]))
            continue
        if row.id.version != 7 or row.id >= latest:
            refused.append((number, "id: it is not a UUIDv7 of a moment up to now"))
        elif not all(map(math.isfinite, (row.latency_ms, row.score or 0, *(row.scores or {}).values()))):
            refused.append((number, "score, scores and latency_ms must be finite"))
        else:
            rows.append((number, row))
    return rows, refused


def keep(
    engine: Engine, model: str, version: int, rows: Sequence[Numbered], *, hash_of: HashOf
) -> tuple[int, int, list[Refused]]:
    """Append rows to the store; returns how many were new, how many were there already, and those it cannot hold.

    Rows of subjects who were erased since (`hash_of` is how tombstones call them) are taken and stay out.
    Where the database refuses a value the batch is halved, again and again, until the row that holds it stands alone.
    """
    try:
        return *predictions.append(engine, model, version, [row for _, row in rows], hash_of=hash_of), []
    except psycopg2.DataError as error:
        if len(rows) == 1:
            return 0, 0, [(rows[0][0], str(error).partition("\n")[0])]
    middle = len(rows) // 2
    first, second = (keep(engine, model, version, half, hash_of=hash_of) for half in (rows[:middle], rows[middle:]))
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]
