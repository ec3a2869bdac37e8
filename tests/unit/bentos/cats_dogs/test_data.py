import io

import numpy as np
from PIL import Image

from bentos.cats_dogs.data import generate
from canari.family import find_family
from tests.conftest import ROOT


def test_the_same_seed_draws_the_same_pictures_and_another_others() -> None:
    once = [sample.content for sample in generate(4, seed=3)]
    assert [sample.content for sample in generate(4, seed=3)] == once
    assert not {sample.content for sample in generate(4, seed=4)} & set(once)


def test_cats_and_dogs_come_in_turn_and_say_that_they_are_drawn() -> None:
    samples = list(generate(5, seed=0))
    assert [sample.label for sample in samples] == ["cat", "dog", "cat", "dog", "cat"]
    assert {sample.source for sample in samples} == {"synthetic drawing"}


def test_a_picture_is_a_colour_jpeg_that_the_model_reads() -> None:
    family = find_family(ROOT / "bentos", "cats_dogs")
    for sample in generate(6, seed=1):
        image = Image.open(io.BytesIO(sample.content))
        assert (image.format, image.mode) == ("JPEG", "RGB")
        decoded = family.decode(sample.content)
        assert decoded.shape == (180, 180, 3)
        assert np.ptp(decoded) > 100
