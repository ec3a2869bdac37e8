"""Erasing a subject, step by step: each is one short transaction that may be run again.

The tombstone comes first, under a lock that whoever takes rows in holds shared. So a row of before is either in the
tables when the first step looks for it, or arrives later, finds the tombstone, and stays out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, Text, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from canari.ids import first_id
from canari.store import tables as t
from canari.store.latecomers import LOCK, HashOf
from canari.tombstones import ERASED, Tombstone, pseudonym, tombstone

_CHUNK = 5000
_ALONE = text("SELECT pg_advisory_xact_lock(:key)")
_NEXT_MILLISECOND = text("SELECT date_trunc('milliseconds', clock_timestamp()) + interval '1 millisecond'")

# What is counted stays: when, by which version, what was answered. Each row keeps a request id of its own, for pairs
# of an answer and its copy are found by it.
_PREDICTIONS = text(f"""
    WITH chosen AS (
        SELECT id FROM predictions WHERE subject = :subject AND id < :before ORDER BY id LIMIT {_CHUNK}
    )
    UPDATE predictions p SET subject = '{ERASED}', request_id = p.id::text, input_sha256 = NULL, bins = NULL
    FROM chosen WHERE p.id = chosen.id AND p.subject = :subject
    RETURNING p.tableoid::regclass::text
""")  # noqa: S608 - our own constants
# A vote that began before and is not committed yet is waited for.
_LOCK_FEEDBACK = text("SET LOCAL lock_timeout TO '20s'; LOCK TABLE feedback IN SHARE ROW EXCLUSIVE MODE")
_FEEDBACK = text("""
    UPDATE feedback SET subject = :pseudonym, comment = NULL WHERE subject = :subject AND created_at <= :moment
""")
_VOTERS = text("""
    UPDATE evidence_voters v SET subject = :pseudonym
    WHERE subject = :subject AND NOT EXISTS (
        SELECT FROM evidence_voters w WHERE w.rollout = v.rollout AND w.version = v.version AND w.metric = v.metric
        AND w.subject = :pseudonym)
""")
_VOTERS_LEFT = text("DELETE FROM evidence_voters WHERE subject = :subject")
_REVIEWED = text("UPDATE inputs SET reviewed_by = :pseudonym WHERE reviewed_by = :subject")
_LABELLED = text("UPDATE samples SET labelled_by = :pseudonym WHERE labelled_by = :subject")
_TOKENS = text("""
    UPDATE tokens SET subject = :pseudonym, note = NULL, revoked_at = coalesce(revoked_at, now())
    WHERE subject = :subject AND created_at <= :moment
""")
_ACCOUNT = text("DELETE FROM accounts WHERE 'account:' || name = :subject AND created_at <= :moment")
_SAMPLES = text(f"""
    DELETE FROM samples WHERE (model, sha256) IN (
        SELECT model, sha256 FROM samples
        WHERE subject = :subject AND coalesce(prediction_id < :before, created_at <= :moment)
        ORDER BY model, sha256 LIMIT {_CHUNK // 10} FOR UPDATE
    )
    RETURNING model, sha256
""")  # noqa: S608
_BURY = text("""
    INSERT INTO erased_samples (model, sha256, erasure) SELECT :model, :sha256, :erasure
    WHERE NOT EXISTS (SELECT FROM samples WHERE model = :model AND sha256 = :sha256 AND subject IS NULL)
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("erasure", type_=PG_UUID), bindparam("model", type_=Text), bindparam("sha256", type_=Text))
_TRAINED_ON = text("""
    SELECT v.model, v.number, v.state, count(*) AS samples
    FROM erased_samples e
    JOIN manifests m ON m.model = e.model
        AND m.body -> 'samples' @> jsonb_build_array(jsonb_build_object('sha256', e.sha256))
    JOIN versions v ON v.model = m.model AND v.manifest = m.digest
    WHERE e.erasure = :erasure
    GROUP BY v.model, v.number, v.state ORDER BY v.model, v.number
""")
_SUBJECTS = text("""
    SELECT subject FROM predictions WHERE id < :before UNION SELECT subject FROM feedback
    UNION SELECT subject FROM evidence_voters UNION SELECT subject FROM inputs
    UNION SELECT subject FROM samples WHERE subject IS NOT NULL UNION SELECT subject FROM tokens
    UNION SELECT reviewed_by FROM inputs WHERE reviewed_by IS NOT NULL
    UNION SELECT labelled_by FROM samples WHERE labelled_by IS NOT NULL
    UNION SELECT 'account:' || name FROM accounts
""")
_MAY_VACUUM = """
    CASE WHEN current_setting('server_version_num')::integer >= 170000
         THEN has_table_privilege(oid, 'MAINTAIN') ELSE pg_has_role(relowner, 'USAGE') END
"""


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure as it stands: `notes` is what was counted so far, and once it is done its certificate."""

    tombstone: Tombstone
    requested_at: datetime
    done_at: datetime | None
    notes: Mapping[str, Any]


def bury(engine: Engine, subject_hash: str, requested_by: str, *, access: bool, reason: str | None = None) -> Tombstone:
    """Put a subject's tombstone: from when this returns, nothing it did before comes in any more."""
    with engine.begin() as connection:
        connection.execute(_ALONE, {"key": LOCK})
        moment = connection.execute(_NEXT_MILLISECOND).scalar_one()
        one = tombstone(subject_hash, moment, requested_by, access=access)
        _insert(connection, one, reason)
    return one


def put_back(engine: Engine, tombstones: Iterable[Tombstone]) -> int:
    """Put the tombstones that a restored database lacks: they are open again. Returns how many."""
    with engine.begin() as connection:
        connection.execute(_ALONE, {"key": LOCK})
        known = set(connection.execute(select(t.erasures.c.id)).scalars())
        lacking = [one for one in tombstones if one.id not in known]
        for one in lacking:
            _insert(connection, one)
    return len(lacking)


def erase_predictions(connection: Connection, one: Tombstone, subject: str) -> Mapping[str, int]:
    """Take the person out of a chunk of their predictions; by table, how many. Empty when all are done."""
    found: dict[str, int] = {}
    rows = connection.execute(_PREDICTIONS, {"subject": subject, "before": first_id(one.erased_before)})
    for (table,) in rows:
        found[table] = found.get(table, 0) + 1
    return found


def erase_votes(connection: Connection, one: Tombstone, subject: str) -> Mapping[str, int]:
    """Delete the comments, and let the votes go on under a pseudonym; by table, how many rows."""
    names = {"subject": subject, "pseudonym": pseudonym(one.id, subject), "moment": one.erased_before}
    connection.execute(_LOCK_FEEDBACK)
    votes = connection.execute(_FEEDBACK, names).rowcount
    voters = connection.execute(_VOTERS, names).rowcount + connection.execute(_VOTERS_LEFT, names).rowcount
    return {"feedback": votes, "evidence_voters": voters}


def erase_reviews(connection: Connection, one: Tombstone, subject: str) -> Mapping[str, int]:
    """Take the person's name off what they labelled for the team; by table, how many rows."""
    names = {"subject": subject, "pseudonym": pseudonym(one.id, subject)}
    reviewed, labelled = (connection.execute(statement, names).rowcount for statement in (_REVIEWED, _LABELLED))
    return {"inputs": reviewed, "samples": labelled}


def erase_access(connection: Connection, one: Tombstone, subject: str) -> Mapping[str, int]:
    """Revoke the person's tokens and delete their account, as they stood at the erasure; by table, how many rows."""
    names = {"subject": subject, "pseudonym": pseudonym(one.id, subject), "moment": one.erased_before}
    tokens, accounts = (connection.execute(statement, names).rowcount for statement in (_TOKENS, _ACCOUNT))
    return {"tokens": tokens, "accounts": accounts}


def delete_samples(connection: Connection, one: Tombstone, subject: str) -> list[tuple[str, str]]:
    """Delete a batch of the samples that come from a person; returns their models and SHA-256, none when all are gone.

    Their blobs are to be deleted before the transaction ends.
    """
    names = {"subject": subject, "before": first_id(one.erased_before), "moment": one.erased_before}
    return [(row.model, row.sha256) for row in connection.execute(_SAMPLES, names)]


def bury_digests(connection: Connection, one: Tombstone, digests: Iterable[tuple[str, str]]) -> None:
    """See to it that nobody learns from these (model, SHA-256) again, but what the team has of its own."""
    for model, sha256 in sorted(digests):
        connection.execute(_BURY, {"model": model, "sha256": sha256, "erasure": one.id})


def samples_buried(engine: Engine, erasure: UUID) -> dict[str, int]:
    """By model, of how many inputs and samples an erasure took the digests."""
    e = t.erased_samples.c
    query = select(e.model, func.count()).where(e.erasure == erasure).group_by(e.model).order_by(e.model)
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def trained_on(engine: Engine, erasure: UUID) -> list[dict[str, Any]]:
    """The versions that learned from, or were judged on, samples an erasure took."""
    with engine.connect() as connection:
        rows = connection.execute(_TRAINED_ON, {"erasure": erasure}).mappings()
        return [
            {"model": row["model"], "version": row["number"], "state": row["state"], "samples": row["samples"]}
            for row in rows
        ]


def note(connection: Connection, erasure: UUID, counts: Mapping[str, int], tables: Collection[str]) -> None:
    """Add to what an erasure has counted, in the transaction that did it; `tables` are to be vacuumed."""
    e = t.erasures.c
    held = connection.execute(select(e.certificate).where(e.id == erasure).with_for_update()).scalar_one() or {}
    known = held.get("counts", {})
    summed = {**known, **{what: known.get(what, 0) + count for what, count in counts.items()}}
    notes = {**held, "counts": summed, "tables": sorted({*held.get("tables", ()), *tables})}
    connection.execute(update(t.erasures).where(e.id == erasure).values(certificate=notes))


def finish(engine: Engine, erasure: UUID, certificate: Mapping[str, Any]) -> None:
    """Keep the certificate: the erasure is done. The first one stays."""
    e = t.erasures.c
    with engine.begin() as connection:
        connection.execute(
            update(t.erasures)
            .where(e.id == erasure, e.done_at.is_(None))
            .values(done_at=func.now(), certificate=dict(certificate))
        )


def read(engine: Engine, erasure: UUID) -> Erasure | None:
    """One erasure; None where there is none."""
    with engine.connect() as connection:
        row = connection.execute(select(t.erasures).where(t.erasures.c.id == erasure)).one_or_none()
    return None if row is None else _erasure(row)


def newest(engine: Engine, *, open_only: bool = False, limit: int | None = 100) -> list[Erasure]:
    """Erasures, newest first."""
    query = select(t.erasures).order_by(t.erasures.c.id.desc()).limit(limit)
    if open_only:
        query = query.where(t.erasures.c.done_at.is_(None))
    with engine.connect() as connection:
        return [_erasure(row) for row in connection.execute(query)]


def find_subjects(engine: Engine, hash_of: HashOf, hashes: Collection[str], before: datetime) -> dict[str, list[str]]:
    """By hash, the subjects that the database still knows of: how an erasure goes on whose process was killed."""
    found: dict[str, list[str]] = {one: [] for one in hashes}
    with engine.begin() as connection:
        # It reads every subject there is.
        connection.execute(text("SET LOCAL statement_timeout TO 0"))
        rows = connection.execution_options(yield_per=_CHUNK).execute(_SUBJECTS, {"before": first_id(before)})
        for (subject,) in rows:
            hashed = hash_of(subject)
            if hashed in found:
                found[hashed].append(subject)
    return found


def vacuum(engine: Engine, tables: Collection[str], *, rewrite: bool) -> tuple[list[str], list[str]]:
    """Clear dead rows out of tables, and names out of their statistics; returns those done, and those not allowed.

    `rewrite`: write the tables anew, so that nothing is left in the unused parts of their pages; nobody else reads or
    writes a table meanwhile.
    """
    done: list[str] = []
    allowed = text(f"SELECT relname, {_MAY_VACUUM} FROM pg_class WHERE oid = ANY(CAST(:tables AS regclass[]))")  # noqa: S608
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Closed at the end instead of being lent on without a limit of time.
        connection.detach()
        connection.execute(text("SET statement_timeout TO 0"))
        rights = {row[0]: row[1] for row in connection.execute(allowed, {"tables": sorted(tables)})}
        for table in sorted(name for name, may in rights.items() if may):
            quoted = connection.dialect.identifier_preparer.quote_identifier(table)
            connection.execute(text(f"VACUUM ({'FULL' if rewrite else 'TRUNCATE FALSE'}, ANALYZE) {quoted}"))
            done.append(table)
    return done, sorted(set(rights) - set(done))


def _insert(connection: Connection, one: Tombstone, reason: str | None = None) -> None:
    connection.execute(
        insert(t.erasures).values(
            id=one.id,
            subject_hash=one.subject_hash,
            erased_before=one.erased_before,
            requested_by=one.requested_by,
            certificate={"access": one.access, "reason": reason},
        )
    )


def _erasure(row: Row[Any]) -> Erasure:
    notes = row.certificate or {}
    stone = Tombstone(row.id, row.subject_hash, row.erased_before, row.requested_by, bool(notes.get("access")))
    return Erasure(stone, row.requested_at, row.done_at, notes)
