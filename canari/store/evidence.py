"""The evidence of rollouts, as integers per look: written once, in order, with the marks of how far has been read.

A look is one transaction: what it found, what was wrong with it, and the marks it leaves. It is taken only where
nobody looked since those marks were read, so that two controllers at once, or a crash, count nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, text, update

from canari.bursts import Pace
from canari.cohorts import due, holes, weigh
from canari.evidence import Mark, Marks, Seen, counts_document, counts_of
from canari.observations import Evidence, Fault, FaultKind, Metric
from canari.store import cohorts
from canari.store import tables as t
from canari.types import Arm

_CHUNK = 5000
_NAMES = tuple(field.name for field in fields(Evidence))

# A database that dies may lose the last looks, each whole with its marks: what they found is then found again.
# A decision waits for the disk, and so no decision outlives the evidence it was made on.
_KEEP = text("""
    SET LOCAL synchronous_commit TO off;
    WITH look AS (
        SELECT * FROM jsonb_to_recordset(:looks) AS look (rollout integer, before bigint, tick bigint, marks jsonb)
    ), begun AS (
        INSERT INTO looks (rollout, tick, marks) SELECT rollout, tick, marks FROM look WHERE before IS NULL
        ON CONFLICT DO NOTHING
        RETURNING rollout
    ), gone_on AS (
        UPDATE looks SET tick = look.tick, marks = look.marks FROM look
        WHERE looks.rollout = look.rollout AND looks.tick = look.before
        RETURNING looks.rollout
    ), claimed AS (
        SELECT rollout FROM begun UNION ALL SELECT rollout FROM gone_on
    ), found AS (
        INSERT INTO evidence (rollout, tick, step, version, metric, n, bad)
        SELECT rollout, tick, step, version, metric, n, bad FROM jsonb_to_recordset(:evidence) AS row
            (rollout integer, tick bigint, step integer, version integer, metric text, n bigint, bad bigint)
        JOIN claimed USING (rollout)
    ), told AS (
        INSERT INTO evidence_faults (rollout, tick, place, kind, sentence)
        SELECT rollout, tick, place, kind, sentence FROM jsonb_to_recordset(:faults) AS fault
            (rollout integer, tick bigint, place smallint, kind text, sentence text)
        JOIN claimed USING (rollout)
    )
    SELECT rollout FROM claimed
""")


@dataclass(frozen=True, slots=True)
class Known:
    """How far a rollout's evidence has been read: `tick` is that of the last look, None before the first.

    `marks` are the gateway's; requests before `read_until` have been asked for votes, labels and a shadow's answers;
    `paces` tells how votes usually come on each version, and `missing` how many of its predictions were not recorded.
    """

    rollout: int
    model: str
    versions: tuple[int, ...]
    tick: int | None
    marks: Marks
    read_until: Mapping[Metric, datetime]
    paces: Mapping[int, Pace]
    missing: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a rollout, to be recorded: what was `known`, and what was `seen` at the gateway since.

    `ages` are those at which votes (satisfaction), labels (accuracy) and a shadow's answers (agreement) are looked at;
    a metric left out is not.
    """

    known: Known
    tick: int
    seen: Seen
    now: datetime
    ages: Mapping[Metric, timedelta]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a look came to, and what is known after it."""

    known: Known
    evidence: tuple[Evidence, ...]
    faults: tuple[Fault, ...]


def known(engine: Engine, rollouts: Collection[int]) -> dict[int, Known]:
    """How far the evidence of each rollout has been read."""
    query = (
        select(t.rollouts, t.looks.c.tick, t.looks.c.marks, t.looks.c.cohorts)
        .outerjoin(t.looks, t.looks.c.rollout == t.rollouts.c.id)
        .where(t.rollouts.c.id.in_(rollouts))
    )
    with engine.connect() as connection:
        return {row.id: _known(row) for row in connection.execute(query)}


def record(engine: Engine, looks: Sequence[Look]) -> dict[int, Recorded]:
    """Keep what was found, all looks in one transaction; by rollout. A look that found nothing new leaves no trace.

    Left out are rollouts at which somebody else looked since `known` was read: read it again.
    """
    news: list[Look] = []
    silent: list[Look] = []
    for look in looks:
        (news if _has_news(look) else silent).append(look)
    recorded = {look.known.rollout: Recorded(look.known, (), ()) for look in silent}
    if news:
        with engine.begin() as connection:
            recorded |= {look.known.rollout: _listen(connection, look) for look in _keep(connection, news)}
    return recorded


def looks(
    engine: Engine, rollout: int, *, after: int | None = None
) -> Iterator[tuple[int, list[Evidence], list[Fault]]]:
    """Each look later than the tick `after`, in order: its tick, what it found, and what was wrong with it.

    Rows are read as they are asked for: a long rollout has hundreds of thousands.
    """
    e, f = t.evidence.c, t.evidence_faults.c
    since = -1 if after is None else after
    found = select(t.evidence).where(e.rollout == rollout, e.tick > since).order_by(e.tick, e.step, e.version, e.metric)
    told = select(f.tick, f.kind, f.sentence).where(f.rollout == rollout, f.tick > since).order_by(f.tick, f.place)
    with engine.connect() as connection:
        streams = (connection.execution_options(yield_per=_CHUNK).execute(query) for query in (found, told))
        for tick, rows in groupby(merge(*streams, key=attrgetter("tick")), key=attrgetter("tick")):
            evidence: list[Evidence] = []
            faults: list[Fault] = []
            for row in rows:
                if hasattr(row, "kind"):
                    faults.append(Fault(FaultKind(row.kind), row.sentence))
                else:
                    evidence.append(
                        Evidence(row.rollout, tick, row.step, row.version, Metric(row.metric), row.n, row.bad)
                    )
            yield tick, evidence, faults


def _known(row: Any) -> Known:
    document = row.cohorts or {}
    read_until = {
        Metric(metric): datetime.fromisoformat(moment) for metric, moment in document.get("read_until", {}).items()
    }
    begun = dict.fromkeys((Metric.SATISFACTION, Metric.ACCURACY, Metric.AGREEMENT), row.step_started_at)
    return Known(
        rollout=row.id,
        model=row.model,
        versions=tuple(sorted({row.canary, row.stable} - {None})),
        tick=row.tick,
        marks=_marks_of(row.marks or []),
        read_until=begun | read_until,
        paces={int(version): Pace(*pace) for version, pace in document.get("paces", {}).items()},
        missing={int(version): count for version, count in document.get("missing", {}).items()},
    )


def _has_news(look: Look) -> bool:
    if look.seen.evidence or look.seen.faults or any(_due(look, metric) for metric in look.ages):
        return True
    before, after = (
        {key: (mark.counts, mark.arm) for key, mark in m.items()} for m in (look.known.marks, look.seen.marks)
    )
    return before != after


def _due(look: Look, metric: Metric) -> datetime | None:
    return due(look.known.read_until[metric], look.now, look.ages[metric])


def _keep(connection: Connection, looks: Sequence[Look]) -> list[Look]:
    """Keep the looks at rollouts that nobody else looked at meanwhile; nobody else can until the transaction ends."""
    found = {
        "looks": [
            {
                "rollout": look.known.rollout,
                "before": look.known.tick,
                "tick": look.tick,
                "marks": _marks_document(look.seen.marks),
            }
            for look in looks
        ],
        "evidence": [_row(row) for look in looks for row in look.seen.evidence],
        "faults": [row for look in looks for row in _fault_rows(look, look.seen.faults)],
    }
    rows = connection.execute(_KEEP, {name: json.dumps(values) for name, values in found.items()})
    ours = set(rows.scalars())
    return [look for look in looks if look.known.rollout in ours]


def _listen(connection: Connection, look: Look) -> Recorded:
    """The look with what the cohorts that are old enough by now brought."""
    known = look.known
    ready = {metric: until for metric in look.ages if (until := _due(look, metric)) is not None}
    after = replace(known, tick=look.tick, marks=look.seen.marks, read_until={**known.read_until, **ready})
    evidence: list[Evidence] = []
    faults: list[Fault] = []
    if ready or known.tick is None:
        after = replace(after, missing=cohorts.missing(connection, known.model, known.versions))
        faults += holes(known.missing, after.missing)
    for metric, until in ready.items():
        since = known.read_until[metric]
        cohort = cohorts.Cohort(known.model, known.rollout, known.versions, since, until, look.ages[metric])
        if metric is Metric.SATISFACTION:
            weighed = weigh(
                cohorts.votes(connection, cohort),
                known.paces,
                rollout=known.rollout,
                versions=known.versions,
                seconds=(until - since).total_seconds(),
                tick=look.tick,
            )
            evidence += weighed.evidence
            faults += weighed.faults
            after = replace(after, paces=weighed.paces)
        else:
            gather = cohorts.labels if metric is Metric.ACCURACY else cohorts.agreement
            evidence += gather(connection, cohort, look.tick)
    # From the first look on: what a step began with is not to be forgotten at the next.
    if ready or known.tick is None:
        statement = update(t.looks).where(t.looks.c.rollout == known.rollout)
        connection.execute(statement.values(cohorts=_document(after)))
    if evidence:
        connection.execute(insert(t.evidence), [_row(row) for row in evidence])
    if faults:
        connection.execute(insert(t.evidence_faults), _fault_rows(look, faults, after=len(look.seen.faults)))
    return Recorded(after, (*look.seen.evidence, *evidence), (*look.seen.faults, *faults))


def _document(known: Known) -> dict[str, Any]:
    return {
        "read_until": {metric: moment.isoformat() for metric, moment in known.read_until.items()},
        "paces": {str(version): astuple(pace) for version, pace in known.paces.items()},
        "missing": {str(version): count for version, count in known.missing.items()},
    }


def _marks_document(marks: Marks) -> list[Any]:
    return [
        [process, cluster, None if mark.arm is None else str(mark.arm), counts_document(mark.counts), mark.seen_at]
        for (process, cluster), mark in marks.items()
    ]


def _marks_of(document: Iterable[Any]) -> Marks:
    return {
        (process, cluster): Mark(counts_of(counts), None if arm is None else Arm.parse(arm), seen_at)
        for process, cluster, arm, counts, seen_at in document
    }


def _fault_rows(look: Look, faults: Iterable[Fault], after: int = 0) -> list[dict[str, Any]]:
    identity = {"rollout": look.known.rollout, "tick": look.tick}
    return [
        {**identity, "place": place, "kind": fault.kind, "sentence": fault.sentence}
        for place, fault in enumerate(faults, start=after)
    ]


def _row(row: Evidence) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _NAMES}
