"""How much evidence a verdict will take."""

from __future__ import annotations

import math

import numpy as np

from canari.stats.methods import Method, places, weights
from canari.stats.two_rates import EDGE, projection


def outcomes_to_no_worse(rate: float, margin: float, canary_share: float, method: Method, evidence: float) -> float:
    """Outcomes in both arms until a canary as good as stable has shown it, on average; inf where it never will.

    `rate` is both arms' rate of bad outcomes, `canary_share` the canary's part of the outcomes, `evidence` the bar
    (1/alpha, say). By the mean growth of the alternative that gets there first; half of the canaries take a quarter
    less, or better.
    """
    if margin <= 0 or not 0 < canary_share < 1:
        return math.inf
    p = min(max(rate, EDGE), 1 - EDGE)
    q = np.clip(p + places(method.no_worse) * margin, p / 2, 1 - EDGE)
    u = projection(margin, p, q, canary_share)
    v = np.clip(u + margin, EDGE, 1 - EDGE)
    u = np.clip(u, EDGE, 1 - EDGE)
    stable = p * np.log(p / u) + (1 - p) * np.log((1 - p) / (1 - u))
    canary = p * np.log(q / v) + (1 - p) * np.log((1 - q) / (1 - v))
    growth = (1 - canary_share) * stable + canary_share * canary
    needed = (math.log(evidence) - weights(method.no_worse))[growth > 0] / growth[growth > 0]
    return float(needed.min(initial=math.inf))
