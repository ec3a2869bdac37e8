"""Points of the plane on either side of a line that may move: the data that show what drift does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

from canari.family import RawSample

SOURCE = "synthetic point"
_SLOPE = 0.6
_NOISE = 0.25


def generate(count: int, seed: int, shift: float = 0.0) -> Iterator[RawSample]:
    """Yield `count` rows, below and above the line in turn; the same seed draws the same points.

    The line is ``x2 = 0.6 x1 + shift``, blurred by a little noise: a model trained at one shift errs at another.
    """
    random = Random(f"{seed}/{shift}")
    for index in range(count):
        above = index % 2
        x1 = random.gauss(0, 1)
        distance = abs(random.gauss(0, 1)) * (1 if above else -1)
        x2 = _SLOPE * x1 + shift + distance + random.gauss(0, _NOISE)
        row = {"x1": round(x1, 4), "x2": round(x2, 4)}
        yield RawSample(json.dumps(row).encode(), ("below", "above")[above], SOURCE)
