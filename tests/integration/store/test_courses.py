"""The course of a rollout, in pictures and judged again, from what a real database keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from canari import __version__
from canari.errors import CanariError
from canari.observations import Fault, FaultKind, Metric
from canari.policy import Course, Verdict
from canari.store import courses, rollouts
from canari.types import RolloutState
from tests.conftest import Database
from tests.integration.played import BAD, BAD_HALF, GOOD, GOOD_HALF, MODEL, Played

ALONE = Fault(FaultKind.ALONE, "version 1 does not answer")
HOLE = Fault(FaultKind.UNANSWERED, "proxy p did not answer")


@pytest.fixture
def engine(swept_database: Database) -> Engine:
    return swept_database.engine


def verdicts(found: courses.Replayed) -> list[tuple[str | None, str | None, str | None, bool]]:
    return [(one.action, one.recorded, one.recomputed, one.same) for one in found.compared]


def test_a_rollout_that_is_judged_again_comes_to_the_same(engine: Engine) -> None:
    played = Played(engine, priors={"satisfaction": 0.3})
    played.look(HOLE, **GOOD)
    played.until(Verdict.ADVANCE, **GOOD)
    played.look(ALONE, errors=(100, 0, 0, 0))
    rollouts.pause(engine, MODEL, actor="ada", reason="an incident elsewhere")
    for _ in range(30):
        played.look(**GOOD_HALF)
    played.look()
    rollouts.resume(engine, MODEL, actor="ada", reason="it is over")
    played.until(Verdict.PROMOTE, **GOOD_HALF)
    told: list[int] = []
    found = courses.judge_again(engine, MODEL, played.number, told=told.append)
    assert found.same, found.compared
    assert verdicts(found) == [
        ("start", None, None, True),
        ("advance", "advance", "advance", True),
        ("pause", None, None, True),
        ("resume", None, None, True),
        ("promoted", "promote", "promote", True),
    ]
    assert (found.looks, sum(told)) == (len(told), courses.size(engine, played.number))
    played.until(Verdict.ROLL_BACK, **BAD_HALF)
    after = courses.judge_again(engine, None, played.number)
    assert after.same, after.compared
    assert verdicts(after)[-1] == ("rolled_back", "roll_back", "roll_back", True)


def test_what_was_changed_since_is_found(engine: Engine) -> None:
    played = Played(engine)
    played.until(Verdict.ROLL_BACK, **BAD)
    change(engine, "UPDATE evidence SET bad = bad - 1 WHERE tick = (SELECT min(tick) FROM evidence) AND bad > 1")
    [differs] = [one for one in courses.judge_again(engine, None, played.number).compared if not one.same]
    assert (differs.action, differs.recorded) == ("rolled_back", "roll_back")
    assert "errors.canary_bad: " in str(differs.why)
    assert "errors.log_harm: " in str(differs.why)


def test_evidence_that_is_lost_and_another_release_are_told(engine: Engine) -> None:
    played = Played(engine)
    played.until(Verdict.ROLL_BACK, **BAD)
    change(engine, "UPDATE decisions SET code_version = '0.0.1'")
    found = courses.judge_again(engine, None, played.number)
    assert found.same
    assert found.compared[-1].why == f"decided by release 0.0.1, judged again by {__version__}"
    change(engine, "DELETE FROM evidence WHERE tick = (SELECT max(tick) FROM evidence)")
    lost = courses.judge_again(engine, None, played.number)
    assert not lost.same
    assert "the newest look kept is of" in str(lost.compared[-1].why)


def test_a_verdict_that_nobody_acted_on_is_told(engine: Engine) -> None:
    played = Played(engine)
    played.until(Verdict.ROLL_BACK, **BAD)
    change(engine, "DELETE FROM decisions WHERE verdict IS NOT NULL")
    change(engine, "UPDATE rollouts SET state = 'open', settled_at = NULL WHERE id = :number", number=played.number)
    # The judge may be about to decide, as long as it has looked no further.
    newest = courses.judge_again(engine, None, played.number)
    assert (newest.same, newest.compared[-1].recomputed) == (True, "roll_back")
    change(engine, "INSERT INTO evidence SELECT rollout, tick + 1, step, version, metric, n, bad FROM evidence")
    missed = courses.judge_again(engine, None, played.number)
    assert not missed.same
    assert (missed.compared[-1].id, missed.compared[-1].recorded) == (None, "hold")


def test_what_people_steer_is_listed_and_not_judged(engine: Engine) -> None:
    played = Played(engine)
    played.look(**GOOD)
    rollouts.promote(engine, MODEL, actor="ada", reason="by hand")
    assert verdicts(courses.judge_again(engine, None, played.number)) == [
        ("start", None, None, True),
        ("promoted", None, None, True),
    ]
    by_hand = rollouts.deploy(engine, MODEL, 1, weight=30, actor="ada")
    assert by_hand is not None
    assert courses.judge_again(engine, None, by_hand.id).same
    shown = courses.view(engine, MODEL, by_hand.id)
    assert (shown.steps, shown.metrics, shown.judgement) == ((), (), None)
    for model, number in (("horses", played.number), (MODEL, 999_999)):
        with pytest.raises(CanariError, match="no rollout"):
            courses.judge_again(engine, model, number)
        with pytest.raises(CanariError, match="no rollout"):
            courses.view(engine, model, number)


def test_a_course_has_each_metrics_sequence_and_what_was_said_last(engine: Engine) -> None:
    played = Played(engine)
    played.until(Verdict.ADVANCE, **GOOD)
    played.until(Verdict.ROLL_BACK, **BAD_HALF)
    found = courses.view(engine, MODEL, played.number)
    assert (found.rollout.state, found.steps, found.tick) == (RolloutState.ROLLED_BACK, (20, 50), played.now)
    assert found.judgement is not None
    assert (found.judgement["verdict"], found.judgement["metric"]) == ("roll_back", "errors")
    errors, satisfaction = found.metrics
    assert (errors.metric, errors.margin, satisfaction.metric) == (Metric.ERRORS, 0.02, Metric.SATISFACTION)
    newest = errors.points[-1]
    assert 0 < newest.low < newest.high
    standing = found.judgement["metrics"]["errors"]
    totals = newest.stable_n, newest.stable_bad, newest.canary_n, newest.canary_bad
    assert totals == tuple(standing[name] for name in ("stable_n", "stable_bad", "canary_n", "canary_bad"))
    assert {point.step for point in errors.points} == {0, 1}
    assert [point.at for point in errors.points] == sorted(point.at for point in errors.points)


def test_a_long_course_is_merged_in_order_of_time_and_step(engine: Engine) -> None:
    played = Played(engine)
    change(
        engine,
        """
        INSERT INTO evidence
        SELECT :number, 1000000 + 700 * n, n / 6000, version, 'errors', 10 * version, (n + version) % 3
        FROM generate_series(0, 8999) n, generate_series(1, 2) version
        """,
        number=played.number,
    )
    points = courses.view(engine, MODEL, played.number).metrics[0].points
    assert 100 < len(points) <= 202
    assert (points[-1].stable_n, points[-1].canary_n) == (90_000, 180_000)
    assert points[-1].stable_bad + points[-1].canary_bad == 18_000
    assert [point.at for point in points] == sorted({point.at for point in points})
    assert [point.step for point in points] == sorted(point.step for point in points)
    more = courses.view(engine, MODEL, played.number)
    assert points == more.metrics[0].points


def test_requests_that_had_nothing_to_be_compared_with_are_in_no_picture(engine: Engine) -> None:
    played = Played(engine)
    played.look(**GOOD)
    played.look(ALONE, errors=(0, 0, 500, 250), satisfaction=(0, 0, 10, 5))
    played.look(ALONE, errors=(10, 0, 10, 0))
    errors, satisfaction = courses.view(engine, MODEL, played.number).metrics
    assert (errors.points[-1].canary_n, errors.points[-1].canary_bad) == (50, 0)
    assert (satisfaction.points[-1].canary_n, satisfaction.points[-1].canary_bad) == (20, 6)
    trial = {one.metric: one for one in played.trial.standings(Course(step=0, step_seconds=1, open_seconds=1))}
    assert (trial["errors"].canary_n, trial["satisfaction"].canary_n) == (50, 20)


def change(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)


def test_a_rollout_without_evidence_has_a_course(engine: Engine) -> None:
    played = Played(engine)
    found = courses.view(engine, MODEL, played.number)
    assert (found.tick, found.judgement, [one.points for one in found.metrics]) == (None, None, [(), ()])
    assert replace(found.rollout, reason=None).id == played.number
