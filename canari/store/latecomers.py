"""Rows that arrive after their subject was erased: they stay out, and count as received.

Whoever takes rows in holds a lock shared that an erasure's tombstone is put under alone. So a row of before is either
in the tables when the erasure looks for it, or finds the tombstone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from canari.ids import first_id, moment_of
from canari.store import tables as t
from canari.types import Prediction

HashOf = Callable[[str], str]

LOCK = 0x0CA7E2A5
_HOLD_OFF = text("SELECT pg_advisory_xact_lock_shared(:key)")

# A row may be sent twice, so only places in the count that were not reached yet count: a recorder sends in order.
_BEGIN_COUNT = text("""
    INSERT INTO recorders (id, model, version, received, highest)
    SELECT DISTINCT id, :model, CAST(:version AS integer), 0, 0 FROM unnest(:ids) AS id ORDER BY id
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("ids", type_=ARRAY(PG_UUID)))
_COUNT = text("""
    UPDATE recorders SET
        received = received + (SELECT count(*) FROM unnest(:ids, :places) AS d (id, seq)
                               WHERE d.id = recorders.id AND d.seq > recorders.highest),
        highest = greatest(highest, (SELECT max(seq) FROM unnest(:ids, :places) AS d (id, seq)
                                     WHERE d.id = recorders.id)),
        seen_at = now()
    WHERE id = ANY(:ids) AND model = :model AND version = :version
""").bindparams(bindparam("ids", type_=ARRAY(PG_UUID)), bindparam("places", type_=ARRAY(BIGINT)))


def late(connection: Connection, hash_of: HashOf, made: Sequence[tuple[UUID, str]]) -> set[UUID]:
    """Those of these predictions (id, subject) whose subject was erased after they were made.

    Holds new erasures off until the transaction ends.
    """
    connection.execute(_HOLD_OFF, {"key": LOCK})
    if not made:
        return set()
    e = t.erasures.c
    earliest = moment_of(min(identifier for identifier, _ in made))
    query = select(e.subject_hash, func.max(e.erased_before)).where(e.erased_before > earliest).group_by(e.subject_hash)
    firsts = {subject: first_id(moment) for subject, moment in connection.execute(query)}
    if not firsts:
        return set()
    hashes = {subject: hash_of(subject) for subject in {subject for _, subject in made}}
    return {one for one, subject in made if hashes[subject] in firsts and one < firsts[hashes[subject]]}


def sift(
    connection: Connection, hash_of: HashOf, model: str, version: int, rows: Sequence[Prediction]
) -> Sequence[Prediction]:
    """Rows without those of erased subjects, which count as received: their recorders' counts get no hole."""
    out = late(connection, hash_of, [(row.id, row.subject) for row in rows])
    if not out:
        return rows
    dropped = [row for row in rows if row.id in out]
    of = {"model": model, "version": version, "ids": [row.recorder for row in dropped]}
    connection.execute(_BEGIN_COUNT, of)
    connection.execute(_COUNT, {**of, "places": [row.seq for row in dropped]})
    return [row for row in rows if row.id not in out]
