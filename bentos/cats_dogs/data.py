"""Drawn cats and dogs: every picture is made up, so that the platform starts with no photo at all.

A pet is drawn around the origin of a square canvas in units of its head's half width, then turned, scaled and placed
on a background; colours, proportions, noise and blur vary with the seed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from canari.family import RawSample

SOURCE = "synthetic drawing"
_CANVAS = 512
_UNIT = 104.0
_INK = (52, 40, 36)
_PINK = (238, 156, 158)
_FURS = (
    (232, 164, 88),
    (148, 146, 150),
    (244, 228, 204),
    (112, 82, 62),
    (72, 70, 78),
    (204, 142, 96),
    (250, 244, 236),
    (178, 122, 74),
)
_EYES = ((112, 168, 72), (216, 172, 56), (84, 148, 188), (126, 84, 48))
_COLLARS = ((206, 58, 62), (54, 108, 190), (58, 150, 98), (150, 84, 170), (240, 190, 60))
_SKIES = ((186, 220, 240), (248, 222, 196), (214, 236, 208), (232, 214, 240), (250, 240, 200), (196, 204, 220))
_FLOORS = ((132, 178, 96), (196, 158, 118), (168, 132, 148), (120, 150, 172), (222, 196, 150))

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Brush:
    """Draws in head units: x to the right, y down, (0, 0) between the eyes and the nose."""

    draw: ImageDraw.ImageDraw
    random: Random

    def oval(self, centre: Point, radii: Point, fill: Colour, line: float = 0.03) -> None:
        (x, y), (a, b) = centre, radii
        box = (*_pixels((x - a, y - b)), *_pixels((x + a, y + b)))
        self.draw.ellipse(box, fill=fill, outline=_INK if line else None, width=round(line * _UNIT))

    def shape(self, points: list[Point], fill: Colour, line: float = 0.03) -> None:
        corners = [_pixels(p) for p in points]
        self.draw.polygon(corners, fill=fill)
        if line:
            self.draw.line([*corners, corners[0], corners[1]], fill=_INK, width=round(line * _UNIT), joint="curve")

    def stroke(self, points: list[Point], fill: Colour = _INK, line: float = 0.03) -> None:
        self.draw.line([_pixels(p) for p in points], fill=fill, width=round(line * _UNIT), joint="curve")

    def arc(self, centre: Point, radius: float, start: float, end: float) -> None:
        (x, y) = centre
        box = (*_pixels((x - radius, y - radius)), *_pixels((x + radius, y + radius)))
        self.draw.arc(box, start, end, fill=_INK, width=round(0.03 * _UNIT))


def generate(count: int, seed: int) -> Iterator[RawSample]:
    """Yield `count` JPEG drawings, cat and dog in turn; the same seed draws the same pictures."""
    painters: tuple[tuple[str, Callable[[_Brush], None]], ...] = (("cat", _cat), ("dog", _dog))
    for index in range(count):
        label, painter = painters[index % 2]
        yield RawSample(_picture(painter, Random(f"{seed}/{index}")), label, SOURCE)


def _picture(painter: Callable[[_Brush], None], random: Random) -> bytes:
    size = random.choice(((240, 180), (200, 200), (180, 240), (256, 192)))
    scene = _background(size, random)
    layer = Image.new("RGBA", (_CANVAS, _CANVAS))
    painter(_Brush(ImageDraw.Draw(layer), random))
    side = round(min(size) * random.uniform(1.05, 1.5))
    layer = layer.rotate(random.uniform(-14, 14), Image.Resampling.BICUBIC).resize((side, side), Image.Resampling.BOX)
    if random.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place = tuple(round((room - side) / 2 + room * random.uniform(-0.12, 0.12)) for room in size)
    scene.paste(layer, (place[0], place[1]), layer)
    return _photographed(scene, random)


def _photographed(scene: Image.Image, random: Random) -> bytes:
    """What a camera adds: blur, light, noise and JPEG's own losses."""
    scene = scene.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.8)))
    noise = np.random.default_rng(random.getrandbits(32)).normal(0, random.uniform(1, 7), (*scene.size[::-1], 3))
    pixels = np.asarray(scene, np.float64) * random.uniform(0.82, 1.1) + noise
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=random.randint(82, 93))
    return file.getvalue()


def _background(size: tuple[int, int], random: Random) -> Image.Image:
    width, height = size
    sky, floor = _vary(random.choice(_SKIES), random), _vary(random.choice(_FLOORS), random)
    scene = Image.new("RGB", size, sky)
    draw = ImageDraw.Draw(scene)
    for _ in range(random.randint(2, 6)):
        x, y, r = random.uniform(0, width), random.uniform(0, height * 0.7), random.uniform(6, 34)
        draw.ellipse((x - r, y - r * 0.7, x + r, y + r * 0.7), fill=_blend(sky, (255, 255, 255), random.random() * 0.6))
    horizon = height * random.uniform(0.6, 0.85)
    draw.rectangle((0, horizon, width, height), fill=floor)
    for _ in range(random.randint(8, 30)):
        x, y = random.uniform(0, width), random.uniform(horizon, height)
        draw.line((x, y, x + random.uniform(-3, 3), y - random.uniform(3, 9)), fill=_blend(floor, _INK, 0.25), width=2)
    return scene


def _cat(brush: _Brush) -> None:
    random = brush.random
    fur = _vary(random.choice(_FURS), random)
    dark, pale = _blend(fur, _INK, 0.45), _blend(fur, (255, 255, 255), 0.55)
    _body(brush, fur, 0.85)
    tip, inner = random.uniform(1.15, 1.5), random.uniform(0.1, 0.22)
    for side in (-1, 1):
        brush.shape([(side * 0.98, -0.25), (side * 0.86, -tip), (side * inner, -0.72)], fur)
        brush.shape([(side * 0.84, -0.5), (side * 0.78, -tip + 0.25), (side * 0.4, -0.72)], _PINK, line=0)
    brush.oval((0, 0), (1.05, random.uniform(0.8, 0.92)), fur)
    if random.random() < 0.6:
        for x in (-0.24, 0.0, 0.24):
            brush.stroke([(x, -0.8), (x * 0.8, -0.45)], dark, 0.09)
        for side in (-1, 1):
            brush.stroke([(side * 1.0, 0.05), (side * 0.72, 0.1)], dark, 0.08)
    for side in (-1, 1):
        brush.oval((side * 0.22, 0.36), (0.28, 0.22), pale, line=0)
    _eyes(brush, height=0.2, pupil=random.uniform(0.04, 0.09))
    brush.shape([(-0.12, 0.17), (0.12, 0.17), (0.0, 0.3)], _PINK)
    for side in (-1, 1):
        brush.arc((side * 0.13, 0.34), 0.13, 0, 180)
        for slope in (-0.16, 0.0, 0.16):
            length = random.uniform(1.15, 1.4)
            brush.stroke([(side * 0.4, 0.34 + slope * 0.4), (side * length, 0.32 + slope * 1.6)], line=0.018)


def _dog(brush: _Brush) -> None:
    random = brush.random
    fur = _vary(random.choice(_FURS), random)
    ear = _blend(fur, _INK, random.uniform(0.2, 0.6))
    pale = _blend(fur, (255, 255, 255), 0.5)
    _body(brush, fur, 1.0)
    brush.oval((0, 0), (0.86, 1.0), fur)
    if random.random() < 0.5:
        brush.oval((0.36, -0.2), (0.34, 0.38), _blend(fur, ear, 0.7), line=0)
    brush.oval((0, 0.5), (0.55, 0.46), pale, line=0.02)
    drop, spread = random.uniform(0.45, 0.95), random.uniform(0.95, 1.2)
    for side in (-1, 1):
        brush.shape(_floppy_ear(side, spread, drop), ear)
    _eyes(brush, height=0.15, pupil=0.12)
    if random.random() < 0.7:
        length = random.uniform(0.22, 0.42)
        brush.oval((0.05, 0.72 + length / 2), (0.16, length), (226, 96, 110))
    brush.arc((-0.18, 0.56), 0.2, 0, 150)
    brush.arc((0.2, 0.56), 0.2, 30, 180)
    brush.oval((0, 0.28), (0.25, 0.18), _INK, line=0)
    brush.oval((-0.08, 0.22), (0.07, 0.04), (150, 140, 138), line=0)


def _floppy_ear(side: int, spread: float, drop: float) -> list[Point]:
    """The outline of an ear that hangs from the head's top to `drop` below its middle."""
    middle, reach = (drop - 0.8) / 2, (drop + 0.8) / 2
    turns = (math.tau * step / 24 for step in range(24))
    return [
        (
            side * (spread - 0.22 + 0.27 * math.cos(turn) - 0.18 * math.cos(turn / 2) ** 2),
            middle + reach * math.sin(turn),
        )
        for turn in turns
    ]


def _body(brush: _Brush, fur: Colour, width: float) -> None:
    random = brush.random
    coat = _blend(fur, _INK, 0.08)
    brush.oval((0, 1.75), (width, 1.0), coat)
    for side in (-1, 1):
        brush.oval((side * 0.38, 2.6), (0.34, 0.2), coat)
    if random.random() < 0.6:
        collar = random.choice(_COLLARS)
        brush.oval((0, 0.95), (width * 0.62, 0.2), collar)
        brush.oval((0, 1.16), (0.11, 0.11), (244, 206, 84))


def _eyes(brush: _Brush, height: float, pupil: float) -> None:
    iris = brush.random.choice(_EYES)
    for side in (-1, 1):
        brush.oval((side * 0.4, -0.16), (0.19, height), iris)
        brush.oval((side * 0.4, -0.16), (pupil, height * 0.85), _INK, line=0)
        brush.oval((side * 0.4 - 0.06, -0.16 - height * 0.4), (0.045, 0.045), (255, 255, 255), line=0)


def _pixels(point: Point) -> tuple[int, int]:
    return round(_CANVAS / 2 + point[0] * _UNIT), round(_CANVAS * 0.42 + point[1] * _UNIT)


def _blend(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _vary(colour: Colour, random: Random) -> Colour:
    red, green, blue = (min(255, max(0, part + random.randint(-16, 16))) for part in colour)
    return red, green, blue
