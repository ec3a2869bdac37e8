import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.measures import BINS, MOST_INPUTS, NO_NUMBER, PLACES, Reference, read_reference, refer, sampled
from canari.spec import Input, InputKind

Array = NDArray[np.float32]
NAN, INF = float("nan"), float("inf")
ROW = Input(kind=InputKind.TABULAR, features=("x1",))
PHOTO = Input(kind=InputKind.IMAGE, size=(60, 40))
SOUND = Input(kind=InputKind.AUDIO)


def column(*values: float) -> Array:
    return np.array(values, np.float32)[:, None]


def of(values: Array) -> Reference:
    return refer(ROW, [values], {})


def places(made: Reference, inputs: Array, embedding: Array | None = None) -> NDArray[np.int64]:
    return np.array(made.bins(inputs, embedding))


def photos(count: int, seed: int = 0, level: float = 128) -> Array:
    noise = np.random.default_rng(seed).normal(level, 40, (count, 60, 40, 3))
    return noise.clip(0, 255).astype(np.float32)


def measured(made: Reference, photo: Array) -> dict[str, int]:
    return dict(zip(made.names, made.bins(photo[None], None)[0], strict=True))


def test_many_different_values_lie_in_ten_equal_bins() -> None:
    values = np.random.default_rng(1).normal(size=(1_000, 1)).astype(np.float32)
    [measure] = of(values).measures
    assert measure.counts == (*[100] * BINS, 0)
    assert measure.shares[0] == 0.1
    assert len(measure.edges) == BINS - 1


def test_a_constant_has_a_bin_of_its_own_between_less_and_more() -> None:
    made = of(column(*[3.0] * 50))
    assert made.measures[0].counts[:3] == (0, 50, 0)
    assert places(made, column(2.9999, 3, 3.0001)).ravel().tolist() == [0, 1, 2]


def test_of_few_values_each_has_its_own_bin_and_so_has_what_lies_between() -> None:
    made = of(column(*[0, 1] * 40))
    kept = places(made, column(0, 1)).ravel()
    assert len({*kept.tolist(), *places(made, column(-1, 0.3, 2)).ravel().tolist()}) == 5
    assert [made.measures[0].counts[place] for place in kept] == [40, 40]


def test_a_value_that_many_have_is_told_from_its_neighbours() -> None:
    values = np.concatenate([np.zeros(500), np.random.default_rng(2).exponential(size=500)]).astype(np.float32)[:, None]
    made = of(values)
    zero, more, less = places(made, column(0, 1e-6, -1e-6)).ravel()
    assert less < zero < more
    assert made.measures[0].counts[zero] == 500


def test_what_is_no_number_has_its_own_place_and_an_infinity_the_outermost() -> None:
    made = of(column(*range(100)))
    assert places(made, column(NAN, INF, -INF, 3e38)).ravel().tolist() == [NO_NUMBER, 9, 0, 9]
    assert of(column(NAN, NAN)).measures[0].counts[NO_NUMBER] == 2
    assert of(column(1, 2, NAN)).measures[0].counts[NO_NUMBER] == 1


@given(arrays(np.float32, st.tuples(st.integers(1, 60), st.just(1)), elements=st.floats(width=32)))
def test_every_input_has_a_place_and_the_reference_counts_its_own_so(values: Array) -> None:
    made = of(values)
    found = places(made, values).ravel()
    assert np.bincount(found, minlength=PLACES).tolist() == list(made.measures[0].counts)
    assert read_reference(json.dumps(made.document()).encode()) == made


def test_light_contrast_colour_and_blur_each_move_their_own_measure() -> None:
    made = refer(PHOTO, [photos(60)], {})
    assert made.names == ("brightness", "contrast", "saturation", "sharpness")
    usual = photos(1, seed=7)[0]
    assert measured(made, usual * 0.5)["brightness"] == 0
    assert measured(made, usual * 0.5)["contrast"] == 0
    assert measured(made, np.repeat(usual.mean(axis=2, keepdims=True), 3, axis=2))["saturation"] == 0
    blurred = (usual + np.roll(usual, 1, axis=1) + np.roll(usual, 2, axis=1)) / 3
    assert measured(made, blurred)["sharpness"] == 0


def test_a_darker_photo_is_hardly_less_sharp_and_an_empty_one_does_no_harm() -> None:
    made = refer(PHOTO, [photos(400)], {})
    usual = photos(1, seed=7)[0]
    assert abs(measured(made, usual * 0.9)["sharpness"] - measured(made, usual)["sharpness"]) <= 3
    assert measured(made, np.zeros_like(usual))["sharpness"] == 0
    assert set(measured(made, np.full_like(usual, NAN)).values()) == {NO_NUMBER}


def test_inputs_of_other_kinds_are_seen_by_their_mean_spread_and_length() -> None:
    sounds = np.random.default_rng(0).normal(size=(30, 100)).astype(np.float32)
    made = refer(SOUND, [sounds[:20], sounds[20:]], {})
    assert made.names == ("mean", "deviation", "filled")
    short = np.concatenate([sounds[0, :10], np.zeros(90, np.float32)])
    assert made.bins(short[None], None)[0][1:] == (0, 0)


def test_components_follow_what_spreads_most_and_are_counted_on_what_was_held_out() -> None:
    random = np.random.default_rng(0)
    spread = np.array([9, 5, 3, 2, 1, 0], np.float32)
    learned, held_out = (random.normal(size=(n, 6)).astype(np.float32) * spread for n in (300, 40))
    rows = column(*range(300))
    made = refer(ROW, [rows], {"a": 1}, (learned, held_out))
    assert made.names == ("x1", "component 1", "component 2", "component 3", "component 4")
    assert made.components == frozenset(made.names[1:])
    assert [one.count for one in made.measures] == [300, 40, 40, 40, 40]
    assert abs(made.axes[0][0]) > 0.99
    found = places(made, rows[:2], np.array([[100, 0, 0, 0, 0, 0], [-100, 0, 0, 0, 0, 0]], np.float32))
    assert sorted(found[:, 1].tolist()) == [0, 9]
    with pytest.raises(ValueError, match="no embedding"):
        made.bins(rows[:2], None)


def test_a_layer_that_gives_always_the_same_has_no_components() -> None:
    same = np.ones((30, 5), np.float32)
    made = refer(ROW, [column(*range(30))], {}, (same, same))
    assert (made.names, made.mean, made.axes) == (("x1",), (), ())


def test_of_very_many_inputs_some_are_drawn_by_the_seed() -> None:
    inputs = np.arange(MOST_INPUTS + 500, dtype=np.float32)[:, None]
    once, again, other = (np.concatenate([*sampled(inputs, seed)]).ravel() for seed in (1, 1, 2))
    assert len(set(once.tolist())) == MOST_INPUTS
    assert (once == again).all()
    assert (once != other).any()
    assert np.concatenate([*sampled(inputs[:70], 1)]).ravel().tolist() == [*range(70)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"view": "dreams"}, "view"),
        ({"measures": [{"name": "x1", "edges": [2, 1], "counts": [0] * PLACES}]}, "rising numbers"),
        ({"measures": [{"name": "x1", "edges": [NAN], "counts": [0] * PLACES}]}, "rising numbers"),
        ({"measures": [{"name": "x1", "edges": [1], "counts": [0] * 3}]}, "there are 11 counts"),
        ({"measures": [{"name": "x1", "edges": [1], "counts": [-1, *[0] * 10]}]}, "none under 0"),
        ({"measures": [{"name": "x1", "edges": [], "counts": [0] * PLACES}] * 2}, "two measures have one name"),
        ({"axes": [[1, 2]], "mean": [1]}, "the axes fit neither"),
        ({"axes": [[NAN]], "mean": [1]}, "finite numbers"),
    ],
)
def test_a_reference_that_does_not_hold_is_refused_with_what_is_wrong(change: dict[str, object], why: str) -> None:
    document = of(column(1, 2, 3)).document()
    with pytest.raises(CanariError, match=f"this is not a reference of inputs: .*{why}"):
        read_reference(json.dumps({**document, **change}).encode())


def test_fields_that_came_after_the_build_do_no_harm() -> None:
    made = of(column(1, 2, 3))
    assert read_reference({**made.document(), "made_by": "a newer platform"}) == made
