"""Votes by what tells their predictions apart, for a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from canari.diagnosis import Confused, Worst
from canari.ids import first_id, moment_of

# A prediction has one vote: that of the person who asked, else the first, however late it came.
_VOTED = """
    voted AS (
        SELECT DISTINCT ON (p.id) p.id, p.version, p.label AS answer, f.label AS truth, p.score, p.input_bytes, p.bins,
               hour_of_uuid7(p.id) AS made, NOT f."right" AS wrong
        FROM predictions p JOIN feedback f ON f.prediction_id = p.id AND f.model = :model
        WHERE p.model = :model AND p.id >= :first AND p.id < :last AND p.status < 400 AND p.kind IN ('arm', 'direct')
        ORDER BY p.id, (f.subject = p.subject) DESC, f.id
    )
"""
_VERSIONS = text(f"""
    WITH {_VOTED}
    SELECT version AS value, count(*) AS votes, count(*) FILTER (WHERE wrong) AS wrong
    FROM voted GROUP BY version ORDER BY version
""")  # noqa: S608 - our own constant
_SLICES = text(f"""
    WITH {_VOTED}, told AS (
        SELECT answer, truth, least(9, floor(score * 10))::int AS certainty, extract(hour FROM made)::int / 3 AS clock,
               made::date AS day, floor(log(2, greatest(1, input_bytes)))::int AS size, wrong
        FROM voted WHERE version = :version
    )
    SELECT CASE WHEN grouping(answer) = 0 THEN 'answer' WHEN grouping(truth) = 0 THEN 'truth'
                WHEN grouping(certainty) = 0 THEN 'certainty' WHEN grouping(clock) = 0 THEN 'clock'
                WHEN grouping(day) = 0 THEN 'day' ELSE 'size' END AS dimension,
           coalesce(answer, truth, certainty::text, clock::text, day::text, size::text) AS value,
           count(*) AS votes, count(*) FILTER (WHERE wrong) AS wrong
    FROM told
    GROUP BY GROUPING SETS ((answer), (truth), (certainty), (clock), (day), (size))
    HAVING coalesce(answer, truth, certainty::text, clock::text, day::text, size::text) IS NOT NULL
    ORDER BY 1, 2
""")  # noqa: S608 - our own constant
_PLACES = text(f"""
    WITH {_VOTED}
    SELECT places.measure::int - 1 AS measure, places.place::int AS place, count(*) AS votes,
           count(*) FILTER (WHERE wrong) AS wrong
    FROM voted CROSS JOIN unnest(bins) WITH ORDINALITY AS places(place, measure)
    WHERE version = :version GROUP BY 1, 2 ORDER BY 1, 2
""")  # noqa: S608 - our own constant
_CONFUSED = text(f"""
    WITH {_VOTED}
    SELECT answer, truth, count(*) AS n FROM voted
    WHERE version = :version AND answer <> truth GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT :most
""")  # noqa: S608 - our own constant
_WORST = text(f"""
    WITH {_VOTED}
    SELECT v.id, v.answer, v.truth, v.score,
           EXISTS (SELECT FROM inputs i WHERE i.model = :model AND i.prediction_id = v.id AND i.consented
                   AND i.keep_until > now()) AS kept
    FROM voted v WHERE v.wrong AND v.version = :version
    ORDER BY v.score DESC NULLS LAST, v.id DESC LIMIT :most
""")  # noqa: S608 - our own constant


@dataclass(frozen=True, slots=True)
class Cut:
    """`wrong` of `votes` say wrong where `dimension` has `value`."""

    dimension: str
    value: str
    votes: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Window:
    """One model's votes on predictions of [since, until), aware moments."""

    engine: Engine
    model: str
    since: datetime
    until: datetime

    def versions(self) -> list[Cut]:
        """Votes by version."""
        return [Cut("version", str(row.value), row.votes, row.wrong) for row in self._read(_VERSIONS)]

    def cuts(self, version: int) -> list[Cut]:
        """A version's votes by answer, truth, certainty (tenths), clock (3 hours), day, and size (powers of two)."""
        return [Cut(*row) for row in self._read(_SLICES, version=version)]

    def places(self, version: int) -> dict[int, dict[int, tuple[int, int]]]:
        """A version's votes and those that say wrong, by the place on each measure of its reference."""
        found: dict[int, dict[int, tuple[int, int]]] = {}
        for row in self._read(_PLACES, version=version):
            found.setdefault(row.measure, {})[row.place] = (row.votes, row.wrong)
        return found

    def confused(self, version: int, *, most: int) -> list[Confused]:
        """What is taken for what, the most frequent first."""
        return [Confused(*row) for row in self._read(_CONFUSED, version=version, most=most)]

    def worst(self, version: int, *, most: int) -> list[Worst]:
        """The answers that people said were wrong and that the version was surest of."""
        return [
            Worst(row.id, moment_of(row.id), row.answer, row.truth, row.score, row.kept)
            for row in self._read(_WORST, version=version, most=most)
        ]

    def _read(self, query: Any, **more: int) -> Sequence[Any]:
        window = {"model": self.model, "first": first_id(self.since), "last": first_id(self.until)}
        with self.engine.connect() as connection:
            return connection.execute(query, {**window, **more}).all()
