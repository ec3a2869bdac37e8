"""Points of the plane on either side of a line, of which one in fifty bears the wrong label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

from canari.family import RawSample

LABELS = ("below", "above")
_WRONG = 0.02


def generate(count: int, seed: int) -> Iterator[RawSample]:
    """Yield `count` rows, below and above the line x2 = 0.6 x1 in turn; the same seed draws the same points."""
    random = Random(seed)
    for index in range(count):
        side = index % 2
        x1 = random.gauss(0, 1)
        x2 = 0.6 * x1 + (0.3 + abs(random.gauss(0, 1))) * (1 if side else -1)
        label = LABELS[1 - side if random.random() < _WRONG else side]
        yield RawSample(json.dumps({"x1": round(x1, 4), "x2": round(x2, 4)}).encode(), label, "synthetic point")
