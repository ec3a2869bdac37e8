"""Counts by the hour, held against counting from scratch, whatever comes in whichever order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from canari.ids import moment_of, new_id
from canari.store import feedback, hours, predictions
from canari.store.engine import connect
from canari.store.hours import Hour, Summary
from canari.store.tables import metadata
from canari.types import Feedback, Prediction, RequestKind
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import id_at, prediction

NOW = datetime.now(UTC)
THIS_HOUR = NOW.replace(minute=0, second=0, microsecond=0)
LONG_AGO = NOW - timedelta(days=3)


def vote(about: UUID, subject: str = "visitor:ada", **changes: object) -> Feedback:
    values: dict[str, object] = {"right": True, "label": None, "comment": None, **changes}
    return Feedback(prediction_id=about, model="m", subject=subject, **values)  # type: ignore[arg-type]


def swept(engine: Engine, model: str = "m") -> list[Hour]:
    hours.sweep(engine, seconds=60)
    return hours.history(engine, model, LONG_AGO)


def said(engine: Engine) -> list[Summary]:
    hours.sweep(engine, seconds=60)
    return hours.summaries(engine, NOW).get("m", [])


def marks(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM hour_marks")).scalar_one())


def from_scratch(rows: Sequence[tuple[int, Prediction]], votes: Sequence[Feedback]) -> dict[tuple[int, datetime], Hour]:
    """The hours of model m, by the rules alone; `votes` in the order in which people first spoke."""
    found: dict[tuple[int, datetime], Hour] = {}
    for version, row in {row.id: (version, row) for version, row in reversed(rows)}.values():
        if row.kind not in {RequestKind.ARM, RequestKind.DIRECT}:
            continue
        hour = moment_of(row.id).replace(minute=0, second=0, microsecond=0)
        old = found.get((version, hour), Hour("m", version, hour))
        of_it = [one for one in votes if one.prediction_id == row.id]
        mine = [one for one in of_it if one.subject == row.subject] or of_it
        answered = row.status < 400
        heard = mine[0] if answered and mine else None
        labelled = heard is not None and heard.label is not None
        found[version, hour] = Hour(
            "m",
            version,
            hour,
            predictions=old.predictions + answered,
            refused=old.refused + (400 <= row.status < 500),
            failed=old.failed + (row.status >= 500),
            latency_ms=old.latency_ms + row.latency_ms * answered,
            score=old.score + (row.score or 0) * answered,
            answers=dict(Counter(old.answers) + Counter([row.label] if answered and row.label else [])),
            voted=old.voted + (heard is not None),
            satisfied=old.satisfied + (heard is not None and heard.right),
            labelled=old.labelled + labelled,
            correct=old.correct + (labelled and heard is not None and heard.label == row.label),
        )
    return found


def test_a_batch_is_counted_with_the_transaction_that_inserts_it(swept_database: Database) -> None:
    engine = swept_database.engine
    rows = [
        prediction(1, label="cat"),
        prediction(2, label="dog", score=0.5),
        prediction(3, status=415, label=None, score=None, reason="unsupported-media-type"),
        prediction(4, status=503, label=None, score=None, reason="away"),
        prediction(5, kind=RequestKind.SHADOW),
        prediction(6, kind=RequestKind.PIN),
        prediction(7, id=id_at(THIS_HOUR - timedelta(hours=1, milliseconds=1)), kind=RequestKind.DIRECT),
    ]
    predictions.append(engine, "m", 1, rows)
    old, new = hours.history(engine, "m", LONG_AGO)
    assert (old.hour, old.predictions, old.answers) == (THIS_HOUR - timedelta(hours=2), 1, {"cat": 1})
    assert (new.predictions, new.refused, new.failed) == (2, 1, 1)
    assert (new.latency_ms, new.score, new.answers) == (25.0, 1.25, {"cat": 1, "dog": 1})


def test_rows_sent_twice_count_once(swept_database: Database) -> None:
    engine = swept_database.engine
    rows = [prediction(seq) for seq in range(1, 4)]
    for _ in range(3):
        predictions.append(engine, "m", 1, rows)
    predictions.append(engine, "m", 1, [*rows, prediction(4)])
    assert sum(hour.predictions for hour in swept(engine)) == 4


def test_feedback_counts_however_late_it_comes_and_however_often_minds_change(swept_database: Database) -> None:
    engine = swept_database.engine
    row = prediction(id=id_at(NOW - timedelta(days=2)), label="cat")
    predictions.append(engine, "m", 1, [row])
    assert swept(engine)[0].voted == 0
    feedback.put(engine, vote(row.id, right=False, label="dog"))
    assert swept(engine)[0].voted == 1
    assert marks(engine) == 0
    feedback.put(engine, vote(row.id, label="cat"))
    [hour] = swept(engine)
    assert (hour.voted, hour.satisfied, hour.labelled, hour.correct) == (1, 1, 1, 1)
    feedback.put(engine, vote(row.id, label="cat"))
    assert marks(engine) == 0
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM feedback"))
    [hour] = swept(engine)
    assert (hour.predictions, hour.voted, hour.satisfied, hour.labelled, hour.correct) == (1, 0, 0, 0, 0)


def test_feedback_that_overtakes_its_prediction_counts_once_the_prediction_is_there(swept_database: Database) -> None:
    engine = swept_database.engine
    row = prediction()
    feedback.put(engine, vote(row.id))
    assert said(engine) == []
    assert marks(engine) == 0
    predictions.append(engine, "m", 1, [row])
    assert said(engine) == [Summary(1, 1, 1, 1)]


def test_a_vote_and_its_prediction_that_cannot_see_each_other_are_both_counted(swept_database: Database) -> None:
    engine = swept_database.engine
    row = prediction()
    with engine.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO feedback (prediction_id, model, subject, "right", first_right) '
                "VALUES (:id, 'm', 'visitor:ada', true, true)"
            ),
            {"id": row.id},
        )
        predictions.append(engine, "m", 1, [row])
        assert swept(engine)[0].voted == 0
    assert swept(engine)[0].voted == 1


def test_refused_mirrored_and_pinned_predictions_do_not_count_nor_their_votes(swept_database: Database) -> None:
    engine = swept_database.engine
    rows = [
        prediction(1),
        prediction(2, status=415),
        prediction(3, kind=RequestKind.SHADOW),
        prediction(4, kind=RequestKind.PIN),
        prediction(5, id=id_at(NOW - timedelta(hours=25))),
    ]
    predictions.append(engine, "m", 1, rows)
    for row in rows:
        feedback.put(engine, vote(row.id))
    assert said(engine) == [Summary(1, 1, 1, 1)]


def test_many_names_give_no_more_than_one_vote_and_the_one_who_asked_goes_first(swept_database: Database) -> None:
    engine = swept_database.engine
    row = prediction(subject="visitor:ada")
    predictions.append(engine, "m", 1, [row])
    for _ in range(5):
        feedback.put(engine, vote(row.id, f"visitor:{uuid4()}", right=False))
    assert said(engine) == [Summary(1, 1, 1, 0)]
    feedback.put(engine, vote(row.id, "visitor:ada"))
    assert said(engine) == [Summary(1, 1, 1, 1)]


def test_a_summary_tells_satisfaction_and_participation_and_none_where_there_is_nothing(
    swept_database: Database,
) -> None:
    engine = swept_database.engine
    rows = [prediction(seq) for seq in range(1, 5)]
    predictions.append(engine, "m", 1, rows)
    [silent] = said(engine)
    assert (silent.satisfaction, silent.participation) == (None, 0.0)
    feedback.put(engine, vote(rows[0].id))
    feedback.put(engine, vote(rows[1].id, right=False))
    [heard] = said(engine)
    assert (heard.satisfaction, heard.participation) == (0.5, 0.5)
    assert Summary(1, 0, 0, 0).participation is None


def test_another_model_with_the_same_hours_is_left_alone(swept_database: Database) -> None:
    engine = swept_database.engine
    mine, theirs = prediction(1), prediction(1, recorder=uuid4())
    predictions.append(engine, "m", 1, [mine])
    predictions.append(engine, "other", 1, [theirs])
    feedback.put(engine, vote(theirs.id))
    assert [(hour.predictions, hour.voted) for hour in swept(engine)] == [(1, 0)]
    assert [(hour.predictions, hour.voted) for hour in swept(engine, "other")] == [(1, 0)]


def test_many_marked_hours_are_swept_in_parts_that_each_leave_the_rest(swept_database: Database) -> None:
    engine = swept_database.engine
    rows = [prediction(n, id=id_at(NOW - timedelta(hours=n))) for n in range(60)]
    predictions.append(engine, "m", 1, rows)
    for row in rows:
        feedback.put(engine, vote(row.id))
    assert hours.sweep(engine, seconds=0) == 24
    assert sum(hour.voted for hour in hours.history(engine, "m", LONG_AGO)) == 24
    assert hours.sweep(engine, seconds=60) == 36
    assert sum(hour.voted for hour in hours.history(engine, "m", LONG_AGO)) == 60


def batches_of(thread: int) -> list[list[Prediction]]:
    """Twenty batches of a recorder's own, from the last five hours."""
    recorder, random = uuid4(), Random(thread)
    made = [
        prediction(seq, recorder=recorder, id=id_at(NOW - timedelta(minutes=random.randrange(300))))
        for seq in range(1, 241)
    ]
    return [made[at : at + 12] for at in range(0, 240, 12)]


def test_batches_votes_and_sweeps_at_once_wait_for_each_other_at_most(swept_database: Database) -> None:
    engine = connect(swept_database.app_url, pool=16)
    batches = [batches_of(thread) for thread in range(6)]
    voting = [row for made in batches for batch in made for row in batch[::3]]
    over = threading.Event()

    def append(thread: int) -> None:
        for batch in batches[thread]:
            for _ in range(2):
                predictions.append(engine, "m", 1 + thread % 2, batch)

    def speak(thread: int) -> None:
        for row in voting[thread::3]:
            feedback.put(engine, vote(row.id))

    def sweep(_: int) -> None:
        while not over.is_set():
            hours.sweep(engine)

    with ThreadPoolExecutor(11) as pool:
        sweepers = [pool.submit(sweep, n) for n in range(2)]
        writers = [*(pool.submit(append, n) for n in range(6)), *(pool.submit(speak, n) for n in range(3))]
        wait(writers)
        over.set()
        # What went wrong in a thread is raised here: a deadlock, say.
        for done in writers + sweepers:
            done.result()
    found = swept(engine)
    assert sum(hour.predictions for hour in found) == 6 * 240
    assert sum(hour.voted for hour in found) == len(voting) == sum(hour.satisfied for hour in found)
    assert {hour.version for hour in found} == {1, 2}
    engine.dispose()


_SLOWLY = """
import sys
from sqlalchemy import event
from canari.store import hours
from canari.store.engine import connect

engine = connect(sys.argv[1])

@event.listens_for(engine, "commit")
def wait(connection):
    sys.stdout.write("counted\\n")
    sys.stdout.flush()
    sys.stdin.read()

hours.sweep(engine)
"""


def test_a_sweep_that_is_killed_before_its_end_leaves_everything_to_the_next(swept_database: Database) -> None:
    engine = swept_database.engine
    row = prediction()
    predictions.append(engine, "m", 1, [row])
    feedback.put(engine, vote(row.id))
    command = [sys.executable, "-c", _SLOWLY, swept_database.app_url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == b"counted\n"
        assert hours.sweep(engine) == 0
        it.send_signal(signal.SIGKILL)
        it.wait()
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    while not hours.sweep(engine):
        assert datetime.now(UTC) < deadline
    assert [hour.voted for hour in hours.history(engine, "m", LONG_AGO)] == [1]


PLACES = st.integers(0, 11)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 2), st.lists(PLACES, min_size=1, max_size=4)),
    st.tuples(st.just("vote"), PLACES, st.sampled_from("ab"), st.booleans(), st.sampled_from([None, "cat", "dog"])),
    st.tuples(st.just("sweep")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=14), st.randoms(use_true_random=False))
def test_whatever_happens_in_whichever_order_ends_as_counting_from_scratch_would(
    swept_database: Database, steps: list[tuple[object, ...]], random: Random
) -> None:
    engine = swept_database.engine
    with engine.begin() as connection:
        for table in ("feedback", "predictions", "recorders", "hours", "hour_marks"):
            connection.execute(metadata.tables[table].delete())
    pool = [
        prediction(
            place,
            id=id_at(NOW - timedelta(minutes=40 * place)),
            subject="ab"[place % 2],
            label=random.choice(["cat", "dog"]),
            kind=random.choice([RequestKind.ARM, RequestKind.ARM, RequestKind.DIRECT, RequestKind.SHADOW]),
            status=random.choice([200, 200, 200, 415, 503]),
        )
        for place in range(12)
    ]
    rows: list[tuple[int, Prediction]] = []
    votes: dict[tuple[UUID, str], Feedback] = {}
    for step in steps:
        match step:
            case ("append", int(version), list(places)):
                predictions.append(engine, "m", version, [pool[place] for place in places])
                rows += [(version, pool[place]) for place in places]
            case ("vote", int(place), str(subject), bool(right), label):
                one = vote(pool[place].id, subject, right=right, label=label)
                feedback.put(engine, one)
                votes[one.prediction_id, subject] = one
            case _:
                hours.sweep(engine)
    found = {(hour.version, hour.hour): hour for hour in swept(engine)}
    assert found == from_scratch(rows, list(votes.values()))


def test_what_was_there_before_the_counts_is_counted_by_the_migration(database: Database) -> None:
    rows = [prediction(n, id=id_at(NOW - timedelta(hours=n))) for n in range(5)]
    predictions.append(database.engine, "m", 1, rows)
    feedback.put(database.engine, vote(rows[2].id))
    before = swept(database.engine)
    database.engine.dispose()
    downgraded = connect(database.owner_url, pool=1)
    _migrate_again(database.owner_url, downgraded)
    assert hours.history(downgraded, "m", LONG_AGO) != before
    assert swept(downgraded) == before
    downgraded.dispose()


def _migrate_again(url: str, engine: Engine) -> None:
    """As the release before left the database, and then as this one does."""
    from alembic import command

    from canari.store.migrate import _config, migrate

    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
    migrate(url)


@pytest.mark.parametrize("minutes", [0, 59])
def test_the_last_hours_are_whole_ones_and_the_running_one_is_the_last(minutes: int) -> None:
    now = datetime(2026, 3, 1, 2, minutes, 30, tzinfo=UTC)
    assert hours.first_hour(now, 1) == datetime(2026, 3, 1, 2, tzinfo=UTC)
    assert hours.first_hour(now, 24) == datetime(2026, 2, 28, 3, tzinfo=UTC)
    assert moment_of(new_id()) >= hours.first_hour(datetime.now(UTC), 1)
