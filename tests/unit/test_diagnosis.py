import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canari.diagnosis import Dimension, Slice, by_dimension, find, fisher, stretches
from canari.measures import NO_NUMBER, Measure


def answers(*counts: tuple[int, int]) -> list[Slice]:
    return [Slice(Dimension.ANSWER, f"label {place}", n, bad) for place, (n, bad) in enumerate(counts)]


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_the_chance_is_fishers_exact_one(votes: int, others: int, data: st.DataObject) -> None:
    everyone = votes + others
    bad = data.draw(st.integers(0, everyone))
    wrong = data.draw(st.integers(max(0, bad - others), min(votes, bad)))
    hits = range(wrong, min(votes, bad) + 1)
    exact = sum(math.comb(bad, k) * math.comb(everyone - bad, votes - k) for k in hits) / math.comb(everyone, votes)
    assert fisher(votes, wrong, everyone, bad) == pytest.approx(exact, rel=1e-9)


def test_the_chance_of_very_many_votes_is_still_a_number() -> None:
    assert 0 < fisher(500_000, 50_500, 1_000_000, 100_000) < 0.05
    assert fisher(500_000, 60_000, 1_000_000, 100_000) == 0.0


def test_a_slice_that_is_worse_than_the_rest_stands_out_with_both_shares() -> None:
    slices = answers((200, 100), (200, 20), (200, 24))
    first, *others = find(slices, by_dimension(slices))
    assert (first.slice.name, first.found) == ("label 0", True)
    assert not any(one.found for one in others)
    assert first.sentence == "Where the answer is “label 0”, 50% of 200 votes say wrong, elsewhere 11%"
    assert first.excess == pytest.approx(100 - 200 * 44 / 400)


def test_a_trifle_is_not_told_however_sure_it_is() -> None:
    slices = answers((100_000, 15_000), (100_000, 10_000))
    worst = find(slices, by_dimension(slices))[0]
    assert worst.p < 1e-9
    assert not worst.found


def test_a_few_votes_are_no_finding_however_bad() -> None:
    slices = answers((3, 3), (100, 30))
    assert not any(one.found for one in find(slices, by_dimension(slices)))


def test_a_slice_of_everything_has_nothing_beside_it() -> None:
    slices = answers((100, 90))
    assert find(slices, by_dimension(slices)) == ()


def test_votes_that_fall_alike_everywhere_seldom_make_a_finding_though_many_slices_are_looked_at() -> None:
    random, flagged = Random(4), 0
    for _ in range(400):
        counts = [(n := random.randrange(20, 60), sum(random.random() < 0.3 for _ in range(n))) for _ in range(40)]
        slices = answers(*counts)
        flagged += any(one.found for one in find(slices, by_dimension(slices)))
    assert flagged <= 0.05 * 400


def test_of_a_measures_overlapping_stretches_the_most_telling_stands_for_all() -> None:
    measure = Measure("brightness", (1.0, 2.0, 3.0), (25, 25, 25, 25, 0, 0, 0, 0, 0, 0, 0))
    counts = {0: (100, 60), 1: (100, 62), 2: (100, 10), 3: (100, 12), NO_NUMBER: (1, 0)}
    slices = stretches(counts, measure)
    assert {one.name for one in slices} >= {"under 1", "under 2", "1 to 2", "2 or more", "3 or more", "no number"}
    findings = find(slices, {(Dimension.MEASURE, "brightness"): (401, 144)})
    assert [one.slice.name for one in findings] == ["under 2"]
    assert findings[0].sentence.startswith("Where brightness is under 2, 61%")


def test_a_measure_without_edges_has_nothing_to_tell() -> None:
    measure = Measure("filled", (), (100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    assert find(stretches({0: (100, 60)}, measure), {(Dimension.MEASURE, "filled"): (100, 60)}) == ()
