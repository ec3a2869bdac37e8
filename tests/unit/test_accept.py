"""Whether a version may go on trial: paired with stable on the same samples, and never on too little."""

from __future__ import annotations

import numpy as np
import pytest

from canari.policy.accept import Bar, accept, bar_of
from canari.spec_file import load_spec
from canari.stats import Pairs, wilson
from tests.conftest import ROOT

BAR = Bar(threshold=0.6, margin=0.05)


def test_tangos_interval_and_mcnemars_mid_p_are_those_of_the_literature() -> None:
    """Airway reactivity of 21 children before and after a transplantation (Bentur et al. 2009), as in Fagerland et al.

    "Recommended tests and confidence intervals for paired binomial proportions", Statistics in Medicine 33, 2014.
    """
    children = Pairs(21, gained=1, lost=7)
    assert children.interval(0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert 2 * children.mid_p_worse == pytest.approx(0.0391, abs=5e-5)


def test_the_interval_holds_no_difference_where_all_answers_are_alike() -> None:
    low, high = Pairs(100, 0, 0).interval(0.9)
    assert (low, high) == pytest.approx((-0.0263, 0.0263), abs=1e-4)
    assert Pairs(100, 0, 0).mid_p_worse == 0.5


@pytest.mark.parametrize(("count", "gained", "lost"), [(0, 0, 0), (5, 3, 3), (5, -1, 0)])
def test_pairs_that_cannot_be_are_refused(count: int, gained: int, lost: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        Pairs(count, gained, lost)


def test_wilsons_interval_is_that_of_newcombe() -> None:
    """81 of 263 (Newcombe, "Two-sided confidence intervals for the single proportion", 1998)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_a_version_that_is_worse_by_the_margin_passes_as_seldom_as_the_level_says() -> None:
    random, bar = np.random.default_rng(5), Bar(threshold=0, margin=0.05)
    for count, apart in ((100, 0.06), (100, 0.2), (400, 0.06), (400, 0.2)):
        lost_share = (apart + bar.margin) / 2
        drawn = random.multinomial(count, [apart - lost_share, lost_share, 1 - apart], size=2000)
        passed = [accept(bar, count, count // 2, Pairs(count, int(g), int(lost))).accepted for g, lost, _ in drawn]
        # The level, and three standard errors of 2,000 draws.
        assert np.mean(passed) < 0.05 + 0.015, (count, apart)


def test_a_version_as_good_as_stable_passes_where_the_evaluation_set_is_large_enough() -> None:
    random = np.random.default_rng(6)
    drawn = random.multinomial(400, [0.04, 0.04, 0.92], size=500)
    passed = [accept(BAR, 400, 360, Pairs(400, int(g), int(lost))).accepted for g, lost, _ in drawn]
    assert np.mean(passed) > 0.9


def test_acceptance_says_what_it_saw() -> None:
    found = accept(BAR, 200, 184, Pairs(200, gained=12, lost=4))
    assert found.accepted
    assert found.sentence == (
        "no worse than stable: 92 % right against stable's 88 % on the same 200 held-out samples (12 gained, 4 lost; "
        "difference +0.8 to +7.7)"
    )
    assert found.figures["difference_interval"][0] == pytest.approx(0.0076, abs=1e-3)
    assert found.figures["stable_accuracy"] == 0.88


def test_a_worse_version_one_under_the_threshold_and_one_of_which_too_little_is_known_are_refused() -> None:
    worse = accept(BAR, 200, 150, Pairs(200, gained=4, lost=30))
    assert not worse.accepted
    assert worse.sentence.startswith("worse than stable: 75 % right against stable's 88 %")
    under = accept(BAR, 200, 100, Pairs(200, gained=30, lost=0))
    assert (under.accepted, under.sentence) == (
        False,
        "50 % of 200 held-out samples are right, under the threshold of 60 %",
    )
    few = accept(BAR, 40, 36, Pairs(40, gained=0, lost=0))
    assert not few.accepted
    assert few.sentence.startswith("not shown to be less than 5 points worse than stable: 90 % right against")
    assert "more samples" in few.sentence


def test_a_version_that_learned_from_its_predecessors_answers_may_not_fall_at_all() -> None:
    fallen = Pairs(2000, gained=10, lost=11)
    assert accept(Bar(0.6), 2000, 1800, fallen).accepted
    refused = accept(Bar(0.6, may_fall=False), 2000, 1800, fallen)
    assert not refused.accepted
    assert "not have a single one fewer right" in refused.sentence
    assert accept(Bar(0.6, may_fall=False), 2000, 1800, Pairs(2000, 11, 11)).accepted


def test_without_a_stable_version_the_threshold_alone_decides() -> None:
    found = accept(BAR, 50, 40, None)
    assert found.accepted
    assert found.sentence.endswith("there is no stable version: the threshold alone decides")


def test_the_bar_is_the_one_that_canaries_are_judged_by() -> None:
    spec = load_spec(ROOT / "bentos" / "cats_dogs")
    assert bar_of(spec, may_fall=True) == Bar(threshold=0.6, margin=0.05, alpha=0.05)
    stricter = spec.model_copy(
        update={"canary": spec.canary.model_validate({"alpha": 0.01, "metrics": {"accuracy": {"margin": 0.02}}})}
    )
    assert bar_of(stricter, may_fall=False) == Bar(threshold=0.6, margin=0.02, alpha=0.01, may_fall=False)
