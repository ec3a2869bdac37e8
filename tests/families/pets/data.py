"""Noise around two colours, for a first version without photos."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from canari.family import RawSample

SOURCE = "synthetic colours"


def generate(count: int, seed: int) -> Iterator[RawSample]:
    """Yield `count` pictures, warm ones and cold ones in turn."""
    random = np.random.default_rng(seed)
    for index in range(count):
        colour = np.array([(200, 120, 60), (60, 120, 200)][index % 2])
        pixels = np.clip(random.normal(colour, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        yield RawSample(content.getvalue(), ("cat", "dog")[index % 2], SOURCE)
