"""How the tests weigh what they do not know: the alternatives of a mixture, and the least size of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """The constants of a test for one kind of metric. Any values are valid; good ones find more with less evidence.

    `batch`: outcomes each arm must have before a batch is closed. `minimum`: outcomes each arm must have before
    anything is decided. `strength`: how many outcomes the prior rate counts for. `prior`: the rate of bad outcomes to
    begin with, where stable's history is not known. `harm`: the log odds ratios, above the worst rate that is no harm,
    that harm may have, each with its weight. `no_worse`: the places of a canary that is no worse, in margins above
    stable's rate, each with its weight. Weights sum to 1.
    """

    batch: int
    minimum: int
    strength: float
    prior: float
    harm: tuple[tuple[float, float], ...]
    no_worse: tuple[tuple[float, float], ...] = ((-1.0, 0.2), (0.0, 0.6), (0.4, 0.2))

    def __post_init__(self) -> None:
        if self.batch < 1 or self.strength <= 0 or not 0 < self.prior < 1:
            raise ValueError("a method needs batch >= 1, strength > 0 and a prior rate between 0 and 1")
        for name, mixture in (("harm", self.harm), ("no_worse", self.no_worse)):
            if not mixture or abs(sum(weight for _, weight in mixture) - 1) > 1e-9:
                raise ValueError(f"the weights of `{name}` must sum to 1")
        if min(eta for eta, _ in self.harm) <= 0 or max(place for place, _ in self.no_worse) >= 1:
            raise ValueError("`harm` needs log odds ratios over 0, `no_worse` places under 1")


def weights(mixture: tuple[tuple[float, float], ...]) -> Array:
    """The logarithms of a mixture's weights, shape (alternatives,)."""
    return np.log([weight for _, weight in mixture])


def places(mixture: tuple[tuple[float, float], ...]) -> Array:
    """Where a mixture's alternatives lie, shape (alternatives,)."""
    return np.array([place for place, _ in mixture])


# Votes and labels: common outcomes, of which there are few.
VOTES = Method(
    batch=5,
    minimum=10,
    strength=20,
    prior=0.2,
    harm=((0.2, 0.25), (0.4, 0.4), (0.8, 0.2), (1.6, 0.1), (3.2, 0.05)),
)
# Errors, refusals and slow answers: rare outcomes among many.
RARE = Method(
    batch=1,
    minimum=20,
    strength=200,
    prior=0.002,
    harm=((0.2, 0.05), (0.4, 0.1), (0.8, 0.25), (1.4, 0.3), (2.2, 0.15), (3.2, 0.15)),
)
