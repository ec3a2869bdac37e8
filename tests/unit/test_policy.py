"""Verdicts and their sentences: what harms goes back, what is shown goes on, and silence holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from canari.policy import (
    Expectation,
    Judgement,
    Rule,
    Standing,
    Verdict,
    decide,
    expected_duration,
    participation_differs,
    split_differs,
    unhappy_sentence,
    users_unhappy,
    verdicts,
)
from canari.spec_canary import Canary
from canari.stats import RARE, VOTES, outcomes_to_no_worse

RULE = Rule(alpha=0.05, bake=600, deadline=86400)
FEEDBACK = Standing("satisfaction", 0.05, 300, 48, 112, 32, log_harm=0.5, log_no_worse=1.0)
ERRORS = Standing("errors", 0.005, 9000, 9, 3000, 3, log_harm=-3.0, log_no_worse=6.0)


def judged(
    *standings: Standing,
    rule: Rule = RULE,
    step: float = 700,
    age: float = 900,
    last: bool = False,
    hold: str | None = None,
) -> Judgement:
    return decide(rule, standings, step_seconds=step, open_seconds=age, last_step=last, hold=hold)


def test_a_harmful_canary_goes_back_with_a_sentence() -> None:
    found = judged(replace(FEEDBACK, log_harm=math.log(130)), ERRORS)
    assert found.verdict is Verdict.ROLL_BACK
    assert found.metric == "satisfaction"
    assert found.sentence == (
        "feedback: 71 % right against 84 %, worse by more than 5 points with 99.2 % confidence after 412 votes"
    )


def test_harm_is_the_mean_over_all_metrics() -> None:
    almost = replace(FEEDBACK, log_harm=math.log(39.9))
    assert judged(almost, ERRORS).verdict is Verdict.HOLD
    assert judged(replace(almost, log_harm=math.log(40.1)), ERRORS).verdict is Verdict.ROLL_BACK
    assert judged(almost, replace(ERRORS, log_harm=0.0)).verdict is Verdict.ROLL_BACK


def test_an_optional_metric_rolls_back_and_is_not_waited_for() -> None:
    optional = replace(FEEDBACK, required=False)
    assert judged(ERRORS, optional).verdict is Verdict.ADVANCE
    assert judged(ERRORS, replace(optional, log_harm=10.0)).verdict is Verdict.ROLL_BACK


def test_steps_advance_sooner_than_the_last_one_promotes() -> None:
    shown = replace(FEEDBACK, log_no_worse=math.log(9))
    assert judged(shown, ERRORS).verdict is Verdict.ADVANCE
    found = judged(shown, ERRORS, last=True)
    assert found == Judgement(
        Verdict.HOLD,
        "feedback: 88.8 % confidence that it is less than 5 points worse, 95 % is needed, after 412 votes",
        "satisfaction",
    )
    promoted = judged(replace(FEEDBACK, log_no_worse=3.1), ERRORS, last=True)
    assert promoted.verdict is Verdict.PROMOTE
    assert "feedback (95.4 % confidence that it is less than 5 points worse, after 412 votes)" in promoted.sentence
    assert (
        "errors (99.7 % confidence that it is less than 0.5 points worse, after 12,000 requests)" in promoted.sentence
    )


def test_a_step_bakes_first() -> None:
    shown = replace(FEEDBACK, log_no_worse=5.0)
    found = judged(shown, ERRORS, step=60)
    assert found == Judgement(Verdict.HOLD, "no worse so far; this step bakes for 9 minutes more")


def test_silence_holds() -> None:
    silent = replace(FEEDBACK, canary_n=3, canary_bad=3, log_harm=9.0, log_no_worse=9.0)
    found = judged(silent, ERRORS)
    assert found.verdict is Verdict.HOLD
    assert found.sentence == "feedback: 3 votes for the canary so far, 10 are the least that counts"
    assert judged().verdict is Verdict.HOLD
    unneeded = judged(replace(ERRORS, required=False))
    assert (unneeded.verdict, "no metric is required" in unneeded.sentence) == (Verdict.HOLD, True)


def test_a_guard_silences_its_metric_or_all() -> None:
    doubted = replace(FEEDBACK, log_harm=9.0, log_no_worse=9.0, mistrust="votes came in a burst")
    assert judged(doubted, ERRORS) == Judgement(Verdict.HOLD, "feedback: votes came in a burst", "satisfaction")
    assert judged(doubted, replace(ERRORS, log_harm=9.0)).verdict is Verdict.ROLL_BACK
    assert judged(replace(ERRORS, log_harm=9.0), hold="the gateway is away") == Judgement(
        Verdict.HOLD, "the gateway is away", barred=True
    )


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("hold", Verdict.HOLD), ("promote", Verdict.PROMOTE), ("rollback", Verdict.ROLL_BACK)],
)
def test_at_the_deadline_the_specification_says_what_happens(
    outcome: Literal["hold", "promote", "rollback"], verdict: Verdict
) -> None:
    rule = replace(RULE, on_deadline=outcome)
    found = judged(FEEDBACK, ERRORS, rule=rule, age=86400, last=True)
    assert found.verdict is verdict
    assert found.sentence.startswith("the deadline has passed without a verdict")
    shown = replace(FEEDBACK, log_no_worse=5.0)
    assert judged(shown, ERRORS, rule=rule, age=86400).verdict is verdict
    in_time = judged(shown, ERRORS, rule=rule, age=86400, last=True)
    assert in_time.verdict is Verdict.PROMOTE
    assert in_time.sentence.startswith("no worse than stable")
    assert judged(replace(FEEDBACK, log_harm=9.0), ERRORS, rule=rule, age=86400).metric == "satisfaction"


def test_no_deadline_promotes_on_silence() -> None:
    rule = replace(RULE, on_deadline="promote")
    for standings in ([replace(FEEDBACK, canary_n=0, canary_bad=0)], [replace(FEEDBACK, required=False)]):
        found = judged(*standings, rule=rule, age=86400, last=True)
        assert found.verdict is Verdict.HOLD
        assert "and the rollout is held" in found.sentence


def test_no_confidence_is_told_that_is_not_there() -> None:
    sure = judged(replace(ERRORS, log_harm=5000.0))
    assert "with over 99.9 % confidence" in sure.sentence
    unsure = judged(replace(FEEDBACK, log_no_worse=-900.0))
    assert unsure.sentence.startswith("feedback: 0 % confidence")


def test_many_rollouts_are_judged_as_one_is() -> None:
    rng = np.random.default_rng(1)
    harm, no_worse = rng.normal(1, 3, (2, 300, 2))
    step, age = rng.uniform(0, 1200, 300), rng.uniform(0, 100000, 300)
    last = rng.random(300) < 0.5
    many = verdicts(
        RULE, harm, no_worse, heard=True, required=[True, False], step_seconds=step, open_seconds=age, last_step=last
    )
    assert set(many) == {0, 1, 2, 3}
    for i, verdict in enumerate(many):
        standings = [
            replace(at, log_harm=float(harm[i, j]), log_no_worse=float(no_worse[i, j]), required=j == 0)
            for j, at in enumerate((ERRORS, FEEDBACK))
        ]
        one = judged(*standings, step=float(step[i]), age=float(age[i]), last=bool(last[i]))
        assert one.verdict == verdict


def test_a_split_that_is_not_the_configured_one_is_told() -> None:
    assert split_differs([(48, 1000, 0.05), (260, 1000, 0.25)]) is None
    assert split_differs([(0, 20, 0.05)]) is None
    told = split_differs([(0, 1000, 0.05)])
    assert told is not None
    assert told.startswith("the canary got 0 of 1,000 requests where its weight makes it 50")
    assert split_differs([(51_000, 1_000_000, 0.05)]) is None, "certain, and too small to matter"
    assert split_differs([(1000, 1000, 1.0)]) is None


def test_the_split_guard_seldom_speaks_of_a_split_as_configured() -> None:
    rng = np.random.default_rng(2)
    spoke = 0
    for _ in range(300):
        inside = total = 0
        alarm = False
        for _ in range(60):
            inside, total = inside + int(rng.binomial(40, 0.05)), total + 40
            alarm = alarm or split_differs([(inside, total, 0.05)]) is not None
        spoke += alarm
    assert spoke <= 3


def test_people_who_answer_differently_in_the_arms_are_told() -> None:
    assert participation_differs([(30, 600, 0.05)]) is None
    told = participation_differs([(90, 600, 0.05)])
    assert told is not None
    assert "people do not answer alike in both arms" in told


def test_users_are_unhappy_when_enough_of_them_say_so() -> None:
    assert users_unhappy([3.1, 2.9, 3.1], [60, 60, 60], [500, 500, 700], participation=0.1).tolist() == [1, 0, 0]
    assert unhappy_sentence(0.8, 60, 39, 500, 3.1) == (
        "feedback: 65 % right of 60 votes on 500 predictions, less than 80 % with 95.4 % confidence"
    )


def expected(requests: float, votes: float, satisfaction: float | None = None, **canary: Any) -> Expectation:
    rules = Canary.model_validate(canary)
    return expected_duration(rules, requests_per_day=requests, votes_per_day=votes, satisfaction=satisfaction)


def days(requests: float, votes: float, satisfaction: float | None = None, **canary: Any) -> float:
    found = expected(requests, votes, satisfaction, **{"steps": [50], **canary}).days
    assert found is not None
    return found


def test_each_step_takes_what_its_bar_asks_for() -> None:
    alone = outcomes_to_no_worse(0.2, 0.05, 0.5, VOTES, 20) / 1000
    assert days(1e9, 1000) == pytest.approx(alone, rel=0.01)
    before = outcomes_to_no_worse(0.2, 0.05, 0.25, VOTES, 8) / 1000
    assert days(1e9, 1000, steps=[25, 50]) == pytest.approx(before + alone, rel=0.01)
    assert days(1e9, 40) == pytest.approx(days(1e9, 20) / 2, rel=0.01)


def test_the_slowest_required_metric_and_the_bake_time_say_how_long() -> None:
    assert expected(1_000_000, 20).slowest == "satisfaction"
    errors = expected(2_000, 0, metrics={"satisfaction": None})
    assert errors.sentence == (
        "At today's 2,000 requests and 0 votes a day a verdict takes about 11 days, of which errors is the slowest "
        "part; the deadline is 2 weeks after its start."
    )
    only = {"errors": None, "satisfaction": None}
    for metric in ("throttled", "latency"):
        found = expected(2_000, 0, metrics={**only, metric: {"margin": 0.005}})
        assert found.slowest == metric
    unneeded = expected(0, 0, metrics=only, bake="2h")
    assert unneeded.slowest == "bake"
    assert unneeded.days == pytest.approx(0.25)


def test_a_shadow_waits_for_errors_alone_of_which_each_request_gives_one_for_either_arm() -> None:
    quick = expected(1e9, 1e9, steps=["shadow", 5, 50], bake="1d")
    assert quick.slowest == "bake"
    assert quick.days == pytest.approx(3)
    optional = {"errors": {"margin": 0.005, "required": False}, "satisfaction": {"margin": 0.05}}
    shadow = days(1000, 1e9, steps=["shadow", 50], metrics=optional) - days(1000, 1e9, metrics=optional)
    assert shadow == pytest.approx(outcomes_to_no_worse(0.001, 0.005, 0.5, RARE, 8) / 2000, rel=0.01)


def test_labels_count_once_they_are_old_enough() -> None:
    judged = {"errors": None, "satisfaction": None, "accuracy": {"margin": 0.05, "age": "3d"}}
    slow = expected(1e9, 1e9, metrics=judged, steps=[5, 50])
    assert slow.slowest == "accuracy"
    assert slow.days == pytest.approx(6, rel=0.01)


def test_unhappy_users_make_it_longer_but_few_votes_are_not_made_much_of() -> None:
    assert days(1e6, 1000, satisfaction=0.5) > 1.4 * days(1e6, 1000)
    # A few votes alone, and all of them unhappy.
    assert days(1e6, 2, satisfaction=0.0) < 1.5 * days(1e6, 2)


def test_that_there_will_be_no_verdict_is_told() -> None:
    silent = expected(5_000, 0, deadline="3d")
    assert silent.days is None
    assert silent.sentence == (
        "At today's 5,000 requests and 0 votes a day there will be no verdict, since satisfaction would take for ever; "
        "the deadline is 3 days after its start."
    )
    assert expected(1e9, 1e9, steps=[50, 100]).days is None
    assert expected(1e9, 1e9, metrics={"errors": {"margin": 0}}).days is None


@pytest.mark.parametrize(
    ("votes", "told"), [(10_000, "28 hours"), (1_000, "11 days"), (60, "6 months"), (10, "3 years")]
)
def test_people_are_told_in_round_figures_and_what_to_do_where_time_is_short(votes: int, told: str) -> None:
    sentence = expected(1e9, votes).sentence
    assert f"a verdict takes about {told}, of which satisfaction is the slowest part" in sentence
    assert sentence.endswith("give it more time, a wider margin or larger steps.") == (votes < 1_000)
