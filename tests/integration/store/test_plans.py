"""Every query the API makes finds its rows by an index: the plans on tables that hold enough to make it matter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, text

from canari.launch.postgres import EmbeddedPostgres
from canari.observations import Evidence
from canari.store import access, cohorts, evidence, feedback, hours, predictions, rollouts, versions
from canari.store.engine import connect
from canari.types import Feedback
from tests.conftest import GivenPostgres, fresh_database
from tests.integration.store.samples_of import prediction

_ROWS = 50_000
_FILL = (
    # Two months of two models' predictions by 500 people; every tenth has a vote.
    f"""
    INSERT INTO predictions (id, model, version, recorder, seq, kind, rollout, step, subject, status, label, score,
                             request_id, input_bytes, latency_ms)
    SELECT overlay(first_uuid7(now() - n * interval '100 seconds')::text PLACING right(md5(n::text), 12) FROM 25)::uuid,
           CASE n % 2 WHEN 0 THEN 'cats_dogs' ELSE 'drift' END, 1 + n / 10000,
           md5((n % 40)::text)::uuid, n, 'arm', 0, 0, 'visitor:' || n % 500, CASE n % 50 WHEN 0 THEN 415 ELSE 200 END,
           'cat', 0.9, 'r', 1000, 12
    FROM generate_series(1, {_ROWS}) n
    """,
    """
    INSERT INTO feedback (prediction_id, model, subject, "right", first_right, created_at)
    SELECT id, model, subject, seq % 20 <> 0, seq % 20 <> 0, now() - seq * interval '100 seconds'
    FROM predictions WHERE seq % 10 = 0
    """,
    """
    INSERT INTO recorders (id, model, version, received, highest)
    SELECT md5('r' || n)::uuid, CASE n % 2 WHEN 0 THEN 'cats_dogs' ELSE 'drift' END, n / 200, n, n
    FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO tokens (id, subject, scopes, models, expires_at, revoked_at)
    SELECT md5(n::text), 'someone', '{predict}', '{*}', now() + (n % 100 - 90) * interval '1 hour',
           CASE n % 20 WHEN 0 THEN now() END
    FROM generate_series(1, 20000) n
    """,
    "ANALYZE",
)


@pytest.fixture(scope="module")
def filled(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Engine]:
    """A database with enough in it, seen as its owner."""
    with fresh_database(postgres) as database:
        engine = connect(database.owner_url)
        with engine.begin() as connection:
            for statement in _FILL:
                connection.execute(text(statement))
        yield engine
        engine.dispose()


@contextmanager
def plans(engine: Engine) -> Iterator[list[str]]:
    """Collects the plan of each query that is made, just before it is."""
    found: list[str] = []

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if re.match(r"\s*(SELECT|WITH|INSERT|UPDATE)\b", statement):
            # A cursor that streams its rows takes one statement only.
            with cursor.connection.cursor() as beside:
                beside.execute("EXPLAIN " + statement, parameters)
                found.append("\n".join(line for (line,) in beside.fetchall()))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def some(engine: Engine) -> UUID:
    with engine.connect() as connection:
        return UUID(str(connection.execute(text("SELECT id FROM predictions WHERE seq = 20000")).scalar_one()))


def cohort(end: datetime) -> cohorts.Cohort:
    """Ten minutes of a rollout that nobody took part in: what is looked through is the same."""
    return cohorts.Cohort("cats_dogs", 7, (1, 2), end - timedelta(minutes=10), end, timedelta(minutes=10))


def votes(engine: Engine, end: datetime) -> object:
    with engine.begin() as connection:
        return cohorts.votes(connection, cohort(end))


def labels(engine: Engine, end: datetime) -> list[Evidence]:
    with engine.begin() as connection:
        return cohorts.labels(connection, cohort(end), tick=1)


def agreement(engine: Engine, end: datetime) -> list[Evidence]:
    with engine.begin() as connection:
        return cohorts.agreement(connection, cohort(end), tick=1)


def missing(engine: Engine) -> dict[int, int]:
    with engine.begin() as connection:
        return cohorts.missing(connection, "cats_dogs", (1, 2))


DAY_AGO = datetime.now(UTC) - timedelta(days=1)
MONTH_AGO = datetime.now(UTC) - timedelta(days=30)
QUERIES: dict[str, Callable[[Engine, UUID], object]] = {
    "one prediction": lambda engine, one: predictions.get(engine, "cats_dogs", one),
    "whose prediction": predictions.model_of,
    "newest page": lambda engine, _: predictions.page(engine, "cats_dogs"),
    "later page": lambda engine, one: predictions.page(engine, "cats_dogs", before=one),
    "page of a version": lambda engine, one: predictions.page(engine, "cats_dogs", before=one, version=2),
    "page of a person": lambda engine, one: predictions.page(engine, "cats_dogs", before=one, subject="visitor:42"),
    "newest of a person": lambda engine, _: predictions.page(engine, "cats_dogs", subject="visitor:42"),
    "losses": lambda engine, _: predictions.losses(engine, "cats_dogs"),
    "summaries": lambda engine, _: hours.summaries(engine, datetime.now(UTC)),
    "history": lambda engine, _: hours.history(engine, "cats_dogs", DAY_AGO),
    "late votes": lambda engine, _: hours.sweep(engine),
    "vote": lambda engine, one: feedback.put(engine, Feedback(one, "cats_dogs", "ada", True, None, None)),
    "rows in": lambda engine, _: predictions.append(engine, "cats_dogs", 1, [prediction(1)]),
    "revoked tokens": lambda engine, _: access.revoked(engine),
    "versions": lambda engine, _: versions.versions(engine, "cats_dogs"),
    "traffic": lambda engine, _: rollouts.desired(engine),
    "votes of a cohort": lambda engine, _: votes(engine, DAY_AGO),
    "votes of an old cohort": lambda engine, _: votes(engine, MONTH_AGO),
    "labels of a cohort": lambda engine, _: labels(engine, DAY_AGO),
    "labels of an old cohort": lambda engine, _: labels(engine, MONTH_AGO),
    "agreement of a cohort": lambda engine, _: agreement(engine, DAY_AGO),
    "agreement of an old cohort": lambda engine, _: agreement(engine, MONTH_AGO),
    "how far evidence was read": lambda engine, _: evidence.known(engine, [7]),
    "evidence": lambda engine, _: list(evidence.looks(engine, 7, after=5)),
}
# The partitions of the months to come are empty, and nothing is what it costs to read them.
_WHOLE = re.compile(r"Seq Scan on (?:predictions|feedback|tokens)\w*(?: \w+)?  \(cost=0\.00\.\.(?!0\.00 )")


@pytest.mark.parametrize("query", QUERIES)
def test_the_api_never_reads_a_large_table_from_end_to_end(filled: Engine, query: str) -> None:
    one = some(filled)
    with plans(filled) as found:
        QUERIES[query](filled, one)
    assert found
    assert not [plan for plan in found if _WHOLE.search(plan)], "\n\n".join(found)


def test_a_page_is_read_in_its_order_and_no_further_than_its_end(filled: Engine) -> None:
    for query in ("newest page", "later page", "page of a version"):
        one = some(filled)
        with plans(filled) as found:
            QUERIES[query](filled, one)
        [plan] = found
        limit, below = plan.splitlines()[:2]
        assert limit.startswith("Limit"), query
        assert re.search(r"-> +(Merge Append|Index Scan Backward)", below), (query, plan)


def test_what_two_versions_did_not_record_is_found_by_their_numbers(filled: Engine) -> None:
    with plans(filled) as found:
        missing(filled)
    assert "recorders_model_version_idx" in found[0]


def test_the_listener_would_see_a_sequential_scan(filled: Engine) -> None:
    with plans(filled) as found, filled.connect() as connection:
        connection.execute(text("SELECT count(*) FROM predictions WHERE label = 'dog'"))
    assert _WHOLE.search(found[0])
