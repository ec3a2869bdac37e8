import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from canari.drift import FLOOR, LEAST, Drift, assess, holm, jensen_shannon, stability_index
from canari.drift import _chance as chance
from canari.drift import _tail as tail
from canari.measures import PLACES, Reference, refer
from canari.spec import Input, InputKind

Counts = NDArray[np.int64]
FEATURES = ("x1", "x2", "always")
GIVEN = Input(kind=InputKind.TABULAR, features=FEATURES)
EVEN = np.array([500, 500])


def rows(count: int, seed: int, shift: float = 0.0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return np.column_stack([random.normal(shift, 1, count), random.integers(0, 3, count), np.full(count, 7)]).astype(
        np.float32
    )


REFERENCE = refer(GIVEN, [rows(1_000, seed=0)], {"below": 100, "above": 100})


def counted(inputs: NDArray[np.float32], reference: Reference = REFERENCE) -> dict[str, Counts]:
    places = np.array(reference.bins(inputs, None))
    return {name: np.bincount(places[:, place], minlength=PLACES) for place, name in enumerate(reference.names)}


def drift(inputs: NDArray[np.float32], below: int = 50, above: int = 50, **options: float) -> Drift:
    return assess(REFERENCE, counted(inputs), {"below": below, "above": above}, **options)


def test_more_of_the_same_has_not_moved() -> None:
    found = drift(rows(500, seed=1))
    assert not found.flagged
    assert (found.share, found.inputs, found.reason) == (0, 500, None)
    assert [one.name for one in found.measures] == list(FEATURES)
    assert found.sentences == ("none of 3 measures of 500 inputs moved",)


def test_what_moved_is_told_with_where_and_by_how_much() -> None:
    found = drift(rows(500, seed=1, shift=0.8))
    assert found.flagged
    assert [one.name for one in found.measures if one.moved] == ["x1"]
    assert found.share == pytest.approx(1 / 3)
    [sentence] = found.sentences
    assert sentence.startswith("x1 moved: ")
    assert "of the inputs lie at " in sentence
    assert sentence.endswith(" of the training data lay")
    assert found.document()["sentences"] == [sentence]


@pytest.mark.parametrize(
    ("place", "change", "told"),
    [
        (2, 8, "always moved: 100% of the inputs lie over 7, where 0% of the training data lay"),
        (2, 6, "always moved: 100% of the inputs lie under 7, where 0% of the training data lay"),
        (1, 1, "x2 moved: 100% of the inputs lie at 1, where 32% of the training data lay"),
        (0, float("nan"), "x1 moved: 100% of the inputs lie at no number, where 0% of the training data lay"),
    ],
)
def test_places_are_told_in_the_measures_own_numbers(place: int, change: float, told: str) -> None:
    inputs = rows(200, seed=3)
    inputs[:, place] = change
    assert drift(inputs).sentences == (told,)


def test_a_value_never_seen_is_told_once_more_than_a_few_inputs_have_it() -> None:
    inputs = rows(400, seed=3)
    inputs[:2, 2] = 8
    assert not drift(inputs).flagged
    inputs[:20, 2] = 8
    assert drift(inputs).sentences == ("always moved: 5% of the inputs lie over 7, where 0% of the training data lay",)


def test_a_trifle_is_not_flagged_however_many_show_it() -> None:
    found = drift(rows(1_000_000, seed=1, shift=0.15))
    [x1] = [one for one in found.measures if one.name == "x1"]
    assert x1.p < 1e-3
    assert x1.psi < FLOOR
    assert not found.flagged


def test_a_large_difference_of_few_inputs_is_not_flagged_as_it_may_be_chance() -> None:
    small = refer(GIVEN, [rows(10, seed=0)], {})
    found = assess(small, counted(rows(60, seed=1), small), {})
    assert max(one.psi for one in found.measures) > FLOOR
    assert not found.flagged


def test_too_few_inputs_say_so_and_flag_nothing() -> None:
    found = drift(rows(LEAST - 1, seed=1, shift=5))
    assert not found.flagged
    assert found.measures == ()
    assert found.sentences == ("49 inputs are too few to see whether they moved: it takes 50",)
    assert drift(rows(LEAST, seed=1, shift=5)).flagged
    assert assess(REFERENCE, {}, {}).reason


def test_a_threshold_asks_for_a_share_of_the_measures() -> None:
    inputs = rows(500, seed=1, shift=2)
    assert drift(inputs, threshold=1 / 3).flagged
    assert not drift(inputs, threshold=0.5).flagged
    assert not drift(rows(500, seed=1), threshold=0).flagged


def test_answers_that_moved_are_told_and_flag_nothing() -> None:
    found = drift(rows(500, seed=1), below=450, above=50)
    assert not found.flagged
    assert found.answers
    assert found.answers.moved
    assert found.sentences == ("answers moved: 'above' is 10% of them, and was 50% on the examples held out",)
    unheard = assess(REFERENCE, counted(rows(500, seed=1)), {"unknown": 500})
    assert unheard.answers
    assert unheard.answers.moved
    silent = assess(replace(REFERENCE, answers={}), counted(rows(500, seed=1)), {})
    assert silent.sentences == ("none of 3 measures of 500 inputs moved",)


def test_the_indices_are_those_of_their_definitions() -> None:
    was, now = np.array([800, 200, 0]), np.array([600, 400, 0])
    smoothed = [-200 / 1001 * math.log(600.5 / 800.5), 200 / 1001 * math.log(400.5 / 200.5)]
    assert stability_index(was, now) == pytest.approx(sum(smoothed))
    assert stability_index(was, was) == 0
    assert stability_index(np.array([9, 0]), np.array([0, 9])) < math.inf
    assert jensen_shannon(was, was) == 0
    assert jensen_shannon(np.array([5, 0]), np.array([0, 7])) == pytest.approx(1)
    assert jensen_shannon(np.array([1, 0]), np.array([1, 1])) == pytest.approx(math.sqrt(0.3112781), abs=1e-6)


@pytest.mark.parametrize(
    ("statistic", "freedom", "expected"),
    [(3.841459, 1, 0.05), (5.991465, 2, 0.05), (16.918978, 9, 0.05), (23.209251, 10, 0.01), (0, 4, 1), (2e3, 9, 0)],
)
def test_the_tail_is_that_of_the_printed_tables(statistic: float, freedom: int, expected: float) -> None:
    assert tail(statistic, freedom) == pytest.approx(expected, abs=1e-7)


def test_large_tables_and_small_ones_are_tested_alike() -> None:
    assert chance(EVEN, np.array([45, 55])) == pytest.approx(0.34, abs=0.01)
    small = chance(np.array([50, 50]), np.array([3, 7]))
    assert 0.2 < small < 0.4
    assert chance(np.array([50, 0]), np.array([0, 50])) < 1e-3
    assert chance(np.array([50, 0]), np.array([50, 0])) == 1
    assert chance(EVEN, np.array([0, 0])) == 1


def test_small_tables_are_flagged_by_luck_no_oftener_than_promised() -> None:
    random = np.random.default_rng(5)
    shares = [0.6, 0.2, 0.1, 0.05, 0.05]
    found = [chance(random.multinomial(30, shares), random.multinomial(20, shares)) for _ in range(300)]
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


def test_holm_lets_the_least_count_first_and_stops_at_the_first_that_does_not() -> None:
    assert holm([0.01, 0.04, 0.03], 0.05) == [True, False, False]
    assert holm([0.01, 0.02, 0.04], 0.05) == [True, True, True]
    assert holm([0.03, 0.03], 0.05) == [False, False]
    assert holm([], 0.05) == []
