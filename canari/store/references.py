"""Where each version's own inputs lie on its measures, and where a window's lie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.ids import first_id
from canari.measures import NO_NUMBER, PLACES, Reference, read_reference
from canari.store import tables as t

MOST_INPUTS = 50_000
"""Beyond these a share is known to a fifth of a point, far better than the reference's own: more cost time alone."""

# The same bytes sent again are one input, as they are one example of a dataset: a load test of twenty photos is no
# thousand people's photos, and would look like drift. Of very many inputs, those are taken whose digests begin low: a
# sample of the whole window, in which an input is with all its repetitions or not at all.
_COUNT = text("""
    WITH made AS (
        SELECT coalesce(sum(predictions), 0) AS n FROM hours
        WHERE model = :model AND version = :version AND hour >= date_trunc('hour', :since) AND hour < :until
    ), inputs AS (
        SELECT DISTINCT ON (input_sha256) bins, label FROM predictions
        WHERE model = :model AND version = :version AND id >= :first AND id < :last
          AND kind IN ('arm', 'direct') AND status < 400 AND bins IS NOT NULL
          AND input_sha256 < (
              SELECT CASE WHEN n > :most THEN lpad(to_hex(floor(65536.0 * :most / n)::int), 4, '0') ELSE 'g' END
              FROM made
          )
    ), places AS (
        SELECT measure, place, count(*) AS n
        FROM inputs CROSS JOIN unnest(bins) WITH ORDINALITY AS places(place, measure)
        GROUP BY measure, place
    )
    SELECT measure::int, place::int, NULL AS label, n FROM places
    UNION ALL
    SELECT NULL, NULL, label, count(*) FROM inputs WHERE label IS NOT NULL GROUP BY label
""")


@dataclass(frozen=True, slots=True)
class Seen:
    """A window's different inputs: how many lie in each of a measure's places (PLACES,), and each answer's number."""

    counts: dict[str, NDArray[np.int64]]
    answers: dict[str, int]


def put(engine: Engine, model: str, number: int, reference: Reference) -> None:
    """Keep a version's reference; the version must be there, and one made again gives way to the newest."""
    statement = upsert(t.input_references).values(model=model, version=number, body=reference.document())
    with engine.begin() as connection:
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[t.input_references.c.model, t.input_references.c.version],
                set_={"body": statement.excluded.body},
            )
        )


def read(engine: Engine, model: str, number: int) -> Reference | None:
    """A version's reference; None where it was made before there were any."""
    query = select(t.input_references.c.body).where(
        t.input_references.c.model == model, t.input_references.c.version == number
    )
    with engine.connect() as connection:
        body = connection.execute(query).scalar_one_or_none()
    return None if body is None else read_reference(body)


def seen(engine: Engine, model: str, version: int, reference: Reference, since: datetime, until: datetime) -> Seen:
    """Where a version's inputs of the window [since, until) lie, or a sample of about MOST_INPUTS of them.

    Mirrored, pinned and refused requests do not count.
    """
    bounds = {"since": since, "until": until, "first": first_id(since), "last": first_id(until)}
    window = {"model": model, "version": version, "most": MOST_INPUTS, **bounds}
    found = Seen({name: np.zeros(PLACES, np.int64) for name in reference.names}, {})
    with engine.connect() as connection:
        for measure, place, label, n in connection.execute(_COUNT, window):
            if label is not None:
                found.answers[label] = n
            # What a bento of another make wrote may lie anywhere.
            elif measure <= len(reference.names) and 0 <= place <= NO_NUMBER:
                found.counts[reference.names[measure - 1]][place] = n
    return found
