"""Trials over plain looks: what they remember, and what they make of it."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest

from canari.observations import Evidence, Fault, FaultKind, Metric
from canari.policy import Course, Judgement, Trial, Verdict, figures
from canari.spec_canary import Canary

ERRORS: dict[str, Any] = {"errors": {"margin": 0.05}, "throttled": None, "latency": None, "satisfaction": None}
BAKED = Course(step=0, step_seconds=3600, open_seconds=3600)


def trial(**rules: Any) -> Trial:
    return Trial(Canary.model_validate({"steps": [20, 50], "metrics": ERRORS} | rules), stable=1, canary=2)


def rows(metric: Metric, stable: tuple[int, int], canary: tuple[int, int], step: int = 0) -> list[Evidence]:
    return [Evidence(7, 0, step, version, metric, n, bad) for version, (n, bad) in ((1, stable), (2, canary)) if n]


def errors(canary_bad: int = 0, step: int = 0, share: int = 20) -> list[Evidence]:
    return rows(Metric.ERRORS, (100 - share, 0), (share, canary_bad), step)


def fault(kind: FaultKind) -> Fault:
    return Fault(kind, f"it is {kind}")


def taken(found: Trial, *looks: list[Evidence], faults: tuple[Fault, ...] = (), since: int = 0) -> Trial:
    for place, look in enumerate(looks, 1):
        found.take(since + 1000 * place, look, faults)
    return found


def verdict(found: Trial, course: Course = BAKED, *faults: Fault) -> Judgement:
    return found.judge(10**6, course, faults)


def test_evidence_that_the_canary_is_no_worse_brings_it_to_the_next_step_and_the_last_to_promotion() -> None:
    found = taken(trial(), *[errors()] * 5)
    assert verdict(found).verdict is Verdict.ADVANCE
    at_last = replace(BAKED, step=1)
    assert verdict(found, at_last).verdict is Verdict.HOLD
    taken(found, *[errors(step=1, share=50)] * 5, since=5000)
    assert verdict(found, at_last).verdict is Verdict.PROMOTE


def test_what_was_shown_at_one_step_does_not_count_at_the_next_but_harm_does() -> None:
    found = taken(trial(), *[errors(canary_bad=2)] * 5)
    (before,) = found.standings(BAKED)
    (after,) = found.standings(replace(BAKED, step=1))
    assert after.log_no_worse == 0
    assert after.log_harm == before.log_harm > 0


def test_a_late_vote_counts_for_the_step_of_its_request() -> None:
    found = trial(metrics=ERRORS | {"satisfaction": {"margin": 0.2}})
    taken(found, rows(Metric.SATISFACTION, (80, 8), (20, 2)))
    taken(
        found,
        rows(Metric.SATISFACTION, (40, 4), (10, 1)) + rows(Metric.SATISFACTION, (5, 1), (5, 1), step=1),
        since=1000,
    )
    at_second = next(s for s in found.standings(replace(BAKED, step=1)) if s.metric == "satisfaction")
    alone = taken(
        trial(metrics=ERRORS | {"satisfaction": {"margin": 0.2}}), rows(Metric.SATISFACTION, (5, 1), (5, 1), 1)
    )
    of_itself = next(s for s in alone.standings(replace(BAKED, step=1)) if s.metric == "satisfaction")
    assert at_second.canary_n == 35
    assert 0 < abs(at_second.log_no_worse) < 2 * abs(of_itself.log_no_worse)


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - {FaultKind.REPEATED, FaultKind.ABSENT}))
def test_a_hole_in_a_look_keeps_a_rollout_where_it_is_and_says_so(kind: FaultKind) -> None:
    found = taken(trial(), *[errors()] * 5)
    held = verdict(found, BAKED, fault(kind))
    assert held == Judgement(Verdict.HOLD, f"it is {kind}", barred=True)


def test_one_person_who_votes_much_keeps_nothing_back() -> None:
    found = taken(trial(), *[errors()] * 5)
    assert verdict(found, BAKED, fault(FaultKind.REPEATED)).verdict is Verdict.ADVANCE


@pytest.mark.parametrize("course", [replace(BAKED, paused=True), replace(BAKED, promoted=True)])
def test_harm_alone_acts_on_a_paused_rollout_and_on_a_promoted_one(course: Course) -> None:
    assert verdict(taken(trial(), *[errors()] * 5), course).verdict is Verdict.HOLD
    assert (
        verdict(taken(trial(), *[errors(canary_bad=8)] * 5), course, fault(FaultKind.SCRAPE)).verdict
        is Verdict.ROLL_BACK
    )


def test_a_pause_stops_the_deadline_from_acting() -> None:
    late = replace(BAKED, open_seconds=10**9)
    assert verdict(trial(), late).verdict is Verdict.ROLL_BACK
    assert verdict(trial(), replace(late, paused=True)).verdict is Verdict.HOLD


def test_a_canary_that_gets_another_share_than_its_weight_is_not_judged() -> None:
    held = verdict(taken(trial(), *[errors(canary_bad=30, share=50)] * 5))
    assert (held.verdict, held.barred) == (Verdict.HOLD, True)
    assert "the canary got 250 of 500 requests where its weight makes it 100" in held.sentence


@pytest.mark.parametrize("kind", [FaultKind.UNSETTLED, FaultKind.ABSENT, FaultKind.ALONE])
def test_the_share_is_not_counted_while_the_split_changes_nor_at_the_look_after(kind: FaultKind) -> None:
    found = trial()
    taken(found, *[errors(share=50)] * 5, faults=(fault(kind),))
    taken(found, errors(share=50), since=5000)
    assert "got" not in verdict(found).sentence
    assert verdict(taken(found, *[errors(share=50)] * 5, since=6000)).barred


def test_what_stable_alone_gets_while_the_canary_is_away_is_compared_with_nothing() -> None:
    found = taken(trial(), rows(Metric.ERRORS, (1000, 0), (0, 0)), faults=(fault(FaultKind.ABSENT),))
    (standing,) = found.standings(BAKED)
    assert standing.stable_n == 0
    taken(found, errors(canary_bad=5), faults=(fault(FaultKind.ABSENT),), since=1000)
    (standing,) = found.standings(BAKED)
    assert standing.canary_bad == 5


def test_a_canary_that_is_away_again_and_again_is_rolled_back_and_one_that_stays_up_is_not() -> None:
    gone = fault(FaultKind.ABSENT)
    found = trial(progress="1m")
    for minute in range(3):
        found.take(minute * 90_000, [], [gone])
        assert found.judge(minute * 90_000, BAKED, [gone]).verdict is Verdict.HOLD
    for second in (190, 210, 230):
        found.take(second * 1000, [], [gone])
    assert found.judge(230_000, BAKED, [gone]).verdict is Verdict.HOLD
    found.take(241_000, [], [gone])
    judged = found.judge(241_000, BAKED, [gone])
    assert judged.verdict is Verdict.ROLL_BACK
    assert judged.sentence.startswith("version 2 does not answer, or never for long")


def test_where_people_answer_unlike_votes_are_not_compared_and_errors_are() -> None:
    found = trial(metrics=ERRORS | {"satisfaction": {"margin": 0.1}})
    asked = rows(Metric.PARTICIPATION, (800, 700), (200, 100))
    taken(found, *[errors() + asked + rows(Metric.SATISFACTION, (80, 8), (20, 2))] * 5)
    judged = verdict(found)
    assert judged.verdict is Verdict.HOLD
    assert judged.metric == "satisfaction"
    assert "people do not answer alike in both arms" in judged.sentence


def test_of_a_shadow_errors_alone_are_asked() -> None:
    found = trial(steps=["shadow", 50], metrics=ERRORS | {"satisfaction": {"margin": 0.1}})
    taken(found, *[rows(Metric.ERRORS, (50, 0), (50, 0))] * 5)
    assert verdict(found).verdict is Verdict.ADVANCE


@pytest.mark.parametrize("metrics", [ERRORS, {"errors": None, "throttled": None, "latency": None}, {}])
def test_a_trial_that_was_kept_as_json_goes_on_to_the_bit(metrics: dict[str, Any]) -> None:
    rng = random.Random(4)
    looks = [
        [row for metric in Metric for row in rows(metric, (80, rng.randrange(5)), (20, rng.randrange(3)))]
        for _ in range(30)
    ]
    whole = taken(trial(metrics=metrics), *looks)
    begun = taken(trial(metrics=metrics), *looks[:11])
    again = trial(metrics=metrics)
    again.restore(json.loads(json.dumps(begun.state())))
    taken(again, *looks[11:], since=11_000)
    assert again.state() == whole.state()
    assert again.standings(BAKED) == whole.standings(BAKED)


def test_a_trial_of_other_metrics_is_not_taken_for_this_one() -> None:
    with pytest.raises(ValueError, match="another test"):
        Trial(Canary(), stable=1, canary=2).restore(trial().state())


def test_a_look_that_found_nothing_leaves_no_trace() -> None:
    found = taken(trial(), errors(), faults=(fault(FaultKind.UNSETTLED),))
    before = found.state()
    found.take(9000, [], [])
    assert found.state() == before


def test_figures_are_plain_values_that_hold_all_that_a_judgement_follows_from() -> None:
    found = taken(trial(), *[errors()] * 5)
    judged = verdict(found)
    document = json.loads(json.dumps(figures(judged, found.standings(BAKED), at=5000, course=BAKED)))
    assert (document["verdict"], document["at"], document["step"]) == ("advance", 5000, 0)
    assert document["metrics"]["errors"]["log_no_worse"] >= math.log(8)
