import io

import numpy as np
import pytest
from PIL import Image

from bentos.cats_dogs.data import generate
from canari.phash import perceptual_hash

PICTURES = [sample.content for sample in generate(30, seed=8)]


def changed(content: bytes, *, scale: float = 1.0, form: str = "JPEG", quality: int = 90) -> bytes:
    image = Image.open(io.BytesIO(content))
    size = (round(image.width * scale), round(image.height * scale))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, form, quality=quality)
    return file.getvalue()


@pytest.mark.parametrize(
    ("scale", "form", "quality"), [(1.0, "JPEG", 60), (0.7, "JPEG", 90), (1.0, "WEBP", 70), (1.5, "PNG", 90)]
)
def test_a_picture_keeps_its_hash_when_it_is_scaled_or_encoded_anew(scale: float, form: str, quality: int) -> None:
    kept = sum(
        perceptual_hash(changed(content, scale=scale, form=form, quality=quality)) == perceptual_hash(content)
        for content in PICTURES
    )
    assert kept >= 0.9 * len(PICTURES)


def test_pictures_that_differ_mostly_have_different_hashes() -> None:
    assert len({perceptual_hash(content) for content in PICTURES}) >= 0.6 * len(PICTURES)


def test_a_hash_is_four_hexadecimal_digits_that_never_change() -> None:
    # Written down, because another hash would move examples that versions were trained on into their evaluation.
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    waves = 128 + 60 * np.sin(columns / 7) + 50 * np.cos(rows / 5 + columns / 31)
    file = io.BytesIO()
    Image.fromarray(waves.astype(np.uint8)).save(file, "PNG")
    assert perceptual_hash(file.getvalue()) == "5f5b"


def test_what_is_no_image_has_no_hash() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        perceptual_hash(b"text")
