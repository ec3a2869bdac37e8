"""The tests of two rates keep their promise: exact sums over all outcomes, odd inputs, and states that come back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from canari.stats import RARE, VOTES, Difference, Method, OneRate, TwoRates, outcomes_to_no_worse
from canari.stats.two_rates import projection

METHODS = st.sampled_from([VOTES, RARE])
RATES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.001, 0.5]))
MARGINS = st.one_of(st.floats(0.001, 0.6), st.sampled_from([0.0, 0.005, 0.05, 1.0]))
Batch = tuple[int, int, int, int]


@st.composite
def batches(draw: st.DrawFn, most: int = 10**9) -> Batch:
    stable, canary = draw(st.integers(0, most)), draw(st.integers(0, most))
    return stable, draw(st.integers(0, stable)), canary, draw(st.integers(0, canary))


def evidence(test: TwoRates) -> tuple[float, float]:
    return float(test.log_harm), float(test.log_no_worse)


def chances(n: int, rate: float) -> NDArray[np.float64]:
    """Of 0 to n bad outcomes."""
    return np.array([math.comb(n, x) * rate**x * (1 - rate) ** (n - x) for x in range(n + 1)])


def played(method: Method, margin: float, played_batches: list[Batch]) -> TwoRates:
    test = TwoRates(margin, method)
    for batch in played_batches:
        test.update(*batch)
    return test


@given(
    b=st.floats(1e-6, 0.999),
    d=st.floats(0, 0.7),
    odds=st.floats(-4, 4).filter(lambda x: abs(x) > 0.1),
    w=st.floats(0.001, 0.999),
)
def test_the_projection_is_where_the_information_is_least(b: float, d: float, odds: float, w: float) -> None:
    border = b + d
    if not 1e-6 < border < 0.999:
        return
    q = border / (border + (1 - border) * math.exp(-odds))
    u = float(projection(d, b, q, w))
    low, high = max(min(b, q - d), 0), max(b, q - d)
    assert low <= u <= high

    def slope(x: float) -> float:
        return (1 - w) * (x - b) / (x * (1 - x)) + w * (x + d - q) / ((x + d) * (1 - x - d))

    step = 1e-7 * min(u, 1 - u - d) + 1e-12
    assert u - step <= low or slope(u - step) <= 0
    assert u + step >= high or slope(u + step) >= 0


@settings(deadline=None, max_examples=80)
@given(
    method=METHODS,
    margin=MARGINS,
    rate=RATES,
    gap=st.floats(0, 1),
    earlier=st.lists(batches(300), max_size=3),
    n=st.integers(5, 12),
    m=st.integers(5, 12),
)
def test_under_its_hypothesis_a_batch_multiplies_the_evidence_by_at_most_one_on_average(
    method: Method, margin: float, rate: float, gap: float, earlier: list[Batch], n: int, m: int
) -> None:
    before = played(method, margin, [(s + 5, b, c + 5, x) for s, b, c, x in earlier])
    bad, canary_bad = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(m + 1)))
    copies = {name: np.repeat(value, bad.size, int(name != "logs")) for name, value in before.state().items()}
    after = TwoRates.restored(copies, margin, method, shape=bad.shape)
    after.update(n, bad, m, canary_bad)
    border = min(1.0, rate + margin)

    def mean(logs: Any, canary: float) -> float:
        return float((chances(n, rate)[bad] * chances(m, canary)[canary_bad] * np.exp(logs)).sum())

    assert mean(after.log_harm - before.log_harm, gap * border) <= 1 + 1e-6
    if rate + margin <= 1:
        assert mean(after.log_no_worse - before.log_no_worse, 1 - gap * (1 - border)) <= 1 + 1e-6


@settings(deadline=None)
@given(method=METHODS, margin=MARGINS, seen=st.lists(batches(), max_size=6))
def test_any_counts_give_finite_evidence(method: Method, margin: float, seen: list[Batch]) -> None:
    test = played(method, margin, seen)
    assert all(math.isfinite(value) for value in evidence(test))


@pytest.mark.parametrize(("stable", "canary"), [(0, 0), (10**9, 10**9), (0, 10**9), (10**9, 0)])
@pytest.mark.parametrize("method", [VOTES, RARE])
def test_extreme_rates_are_told_apart(method: Method, stable: int, canary: int) -> None:
    harm, no_worse = evidence(played(method, 0.05, [(10**9, stable, 10**9, canary)] * 3))
    assert (harm > 20) == (canary > stable)
    assert (no_worse > 20) == (canary <= stable)


@settings(deadline=None)
@given(method=METHODS, seen=st.lists(batches(500), max_size=5), where=st.integers(0, 5))
def test_silence_changes_nothing(method: Method, seen: list[Batch], where: int) -> None:
    silent = [*seen[:where], (0, 0, 0, 0), *seen[where:]]
    assert evidence(played(method, 0.05, silent)) == evidence(played(method, 0.05, seen))


def test_outcomes_wait_until_both_arms_have_a_batch() -> None:
    test = played(VOTES, 0.05, [(400, 60, 4, 4)])
    assert evidence(test) == pytest.approx((0, 0), abs=1e-12)
    test.update(0, 0, 1, 1)
    assert evidence(test) == evidence(played(VOTES, 0.05, [(400, 60, 5, 5)]))
    assert evidence(test)[0] > 0


@settings(deadline=None)
@given(method=METHODS, margin=st.floats(0.01, 0.3), past=st.lists(batches(300), max_size=3), n=st.integers(5, 300),
       m=st.integers(5, 300), data=st.data())  # fmt: skip
def test_each_more_bad_outcome_of_the_canary_is_more_evidence_of_harm(
    method: Method, margin: float, past: list[Batch], n: int, m: int, data: st.DataObject
) -> None:
    bad, stable_bad = data.draw(st.integers(0, m - 1)), data.draw(st.integers(0, n))
    fewer = evidence(played(method, margin, [*past, (n, stable_bad, m, bad)]))
    more = evidence(played(method, margin, [*past, (n, stable_bad, m, bad + 1)]))
    assert more[0] >= fewer[0] - 1e-9
    assert more[1] <= fewer[1] + 1e-9


@settings(deadline=None)
@given(method=METHODS, margin=MARGINS, first=st.lists(batches(), max_size=3), then=st.lists(batches(), max_size=3))
def test_a_state_that_went_through_json_continues_to_the_bit(
    method: Method, margin: float, first: list[Batch], then: list[Batch]
) -> None:
    whole = played(method, margin, [*first, *then])
    parted = TwoRates.restored(json.loads(json.dumps(played(method, margin, first).state())), margin, method)
    for batch in then:
        parted.update(*batch)
    assert evidence(parted) == evidence(whole)
    assert parted.state() == whole.state()


def test_many_tests_at_once_are_each_the_single_test() -> None:
    rng = np.random.default_rng(3)
    margins = np.array([[0.01], [0.1]])
    many = TwoRates(margins, VOTES, prior=0.3, shape=(2, 40))
    single = [[TwoRates(m, VOTES, prior=0.3) for _ in range(40)] for m in (0.01, 0.1)]
    for look in range(10):
        n = rng.integers(0, 30, (4, 2, 40))
        counts = n[0], n[0] // 4, n[2], n[2] // 3
        many.update(*counts)
        for i, j in np.ndindex(2, 40):
            single[i][j].update(*(int(c[i, j]) for c in counts))
        if look == 5:
            many.restart_no_worse(np.arange(40) < 20)
            for i, j in np.ndindex(2, 20):
                single[i][j].restart_no_worse()
    expected = np.array([[evidence(test) for test in row] for row in single])
    np.testing.assert_allclose(many.log_harm, expected[..., 0], atol=1e-9)
    np.testing.assert_allclose(many.log_no_worse, expected[..., 1], atol=1e-9)


def test_a_restart_forgets_only_that_the_canary_was_no_worse() -> None:
    test = played(VOTES, 0.05, [(500, 75, 500, 75)])
    harm, no_worse = evidence(test)
    assert no_worse > 1
    test.restart_no_worse()
    assert evidence(test) == pytest.approx((harm, 0), abs=1e-12)


@pytest.mark.parametrize("counts", [(5, 6, 5, 0), (5, -1, 5, 0), (5, 0, 5, 6), (-3, 0, 5, 0), (5.0, 1.0, 5.0, 1.0)])
def test_counts_that_cannot_be_are_refused_and_change_nothing(counts: Any) -> None:
    test = played(RARE, 0.05, [(50, 1, 50, 2)])
    state = test.state()
    with pytest.raises(ValueError, match=r"whole numbers|between none and all"):
        test.update(*counts)
    assert test.state() == state


def test_a_state_of_another_method_is_refused() -> None:
    other = Method(batch=5, minimum=10, strength=20, prior=0.2, harm=((0.5, 1.0),))
    with pytest.raises(ValueError, match="another test"):
        TwoRates.restored(TwoRates(0.05, other).state(), 0.05, VOTES)


@pytest.mark.parametrize("change", [{"batch": 0}, {"prior": 0.0}, {"harm": ((0.5, 0.6),)}, {"harm": ((-0.5, 1.0),)}])
def test_a_method_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|sum to 1"):
        Method(**{"batch": 5, "minimum": 10, "strength": 20.0, "prior": 0.2, "harm": ((0.5, 1.0),), **change})


def test_a_margin_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        TwoRates(1.5, VOTES)


@settings(deadline=None, max_examples=40)
@given(threshold=st.floats(0.01, 0.9), share=st.floats(0, 1), n=st.integers(1, 40))
def test_one_rate_up_to_its_threshold_is_worth_at_most_one_on_average(threshold: float, share: float, n: int) -> None:
    test = OneRate(threshold, VOTES, shape=(n + 1,))
    test.update(n, np.arange(n + 1))
    assert float((chances(n, share * threshold) * np.exp(test.log_worse)).sum()) <= 1 + 1e-9


def test_one_rate_comes_back_and_refuses_nonsense() -> None:
    test = OneRate(0.2, VOTES)
    test.update(40, 20)
    again = OneRate.restored(json.loads(json.dumps(test.state())), 0.2, VOTES)
    assert float(again.log_worse) == float(test.log_worse) > math.log(20)
    with pytest.raises(ValueError, match="whole numbers"):
        test.update(3, 4)
    with pytest.raises(ValueError, match="between 0 and 1"):
        OneRate(1.0, VOTES)
    with pytest.raises(ValueError, match="another test"):
        OneRate.restored(test.state(), 0.2, VOTES, shape=(2,))


@pytest.mark.parametrize(("stable", "canary", "method", "size"), [(0.15, 0.25, VOTES, 20), (0.001, 0.011, RARE, 500)])
def test_the_confidence_sequence_holds_at_every_look_and_closes_in(
    stable: float, canary: float, method: Method, size: int
) -> None:
    rng = np.random.default_rng(5)
    missed, widths = 0, []
    for _ in range(60):
        sequence, held, last = Difference(method), True, (-1.0, 1.0)
        for _ in range(60):
            n, m = rng.poisson(size), rng.poisson(size / 4) + 1
            sequence.update(n, rng.binomial(n, stable), m, rng.binomial(m, canary))
            low, high = sequence.interval
            assert last[0] <= low <= high <= last[1]
            last = low, high
            held = held and low <= canary - stable <= high
        missed += not held
        widths.append(last[1] - last[0])
    assert missed <= 7  # 5 % of 60 worlds are 3; more than 7 come by chance once in a hundred times
    assert np.median(widths) < 0.4 * (stable + canary) + 0.15


@pytest.mark.parametrize(
    ("rate", "margin", "share", "method", "each"),
    [(0.2, 0.1, 0.5, VOTES, 20), (0.01, 0.05, 0.05, RARE, 100), (0.15, 0.1, 0.1, VOTES, 60)],
)
def test_a_verdict_takes_about_as_long_as_planned(
    rate: float, margin: float, share: float, method: Method, each: int
) -> None:
    rng = np.random.default_rng(6)
    test, shown = TwoRates(margin, method, prior=rate, shape=(300,)), np.full(300, np.inf)
    for look in range(1, 200):
        n, m = rng.poisson(each * (1 - share), 300), rng.poisson(each * share, 300)
        test.update(n, rng.binomial(n, rate), m, rng.binomial(m, rate))
        shown[(test.log_no_worse >= math.log(20)) & np.isinf(shown)] = look
    planned = outcomes_to_no_worse(rate, margin, share, method, 20)
    assert 0.6 * planned < np.median(shown) * each < planned
    assert outcomes_to_no_worse(rate, 0.0, share, method, 20) == math.inf
