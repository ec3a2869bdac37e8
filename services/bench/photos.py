"""Photos to ask about: drawn, as large and as hard to decode as those people take for a web page."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg

from canari.family import Family

WIDTH, HEIGHT = 500, 375
_GRAIN = 6.0
_QUALITY = 90


def draw(family: Family, count: int, seed: int = 0) -> list[bytes]:
    """`count` JPEG files of the family's own drawings, at 500 x 375 pixels and with the grain of a sensor."""
    random = np.random.default_rng(seed)
    return [_as_taken(sample.content, random) for sample in family.generate(count, seed)]


def _as_taken(drawing: bytes, random: np.random.Generator) -> bytes:
    pixels = cv2.resize(simplejpeg.decode_jpeg(drawing), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grainy = pixels + random.normal(0, _GRAIN, pixels.shape)
    encoded: bytes = simplejpeg.encode_jpeg(grainy.clip(0, 255).astype(np.uint8), quality=_QUALITY)
    return encoded
