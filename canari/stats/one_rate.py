"""One rate against a threshold, and one arm's share of the outcomes against the share it should have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from canari.stats.methods import Array, Method, places, weights
from canari.stats.two_rates import mixed

_SHARE_STRENGTH = 50.0  # the width of the mixture: shares a few points off are found soonest


class OneRate:
    """Evidence that a rate of bad outcomes is over `threshold` (0 to 1, both excluded), valid at every look.

    The likelihood ratio of each of the method's alternatives against the threshold, mixed: under any rate up to the
    threshold, even one that moves, the chance that `log_worse` ever reaches log(1/alpha) is at most alpha (Ville
    1939). Assumed: outcomes are independent given the past. Totals suffice, since the threshold is fixed and
    the ratio falls with every good outcome and rises with every bad one.
    """

    def __init__(self, threshold: float, method: Method, *, shape: tuple[int, ...] = ()) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"a threshold is a rate between 0 and 1 (it is {threshold})")
        self.shape = shape
        self._totals = np.zeros((2, *shape), np.int64)
        odds = threshold / (1 - threshold) * np.exp(places(method.harm))
        rates = odds / (1 + odds)
        self._weights = weights(method.harm)
        self._bad, self._good = np.log(rates / threshold), np.log((1 - rates) / (1 - threshold))

    def update(self, n: ArrayLike, bad: ArrayLike) -> None:
        """Take in whole numbers of outcomes since the last call, and the bad ones among them; raises ValueError."""
        taken = np.stack([np.broadcast_to(np.asarray(count), self.shape) for count in (n, bad)])
        if taken.dtype.kind not in "iu" or (taken[1] < 0).any() or (taken[1] > taken[0]).any():
            raise ValueError(f"evidence is whole numbers, the bad ones between none and all: {taken.tolist()}")
        self._totals += taken

    @property
    def log_worse(self) -> Array:
        """The natural logarithm of the evidence; shape `shape`."""
        n, bad = self._totals[..., None]
        return mixed(bad * self._bad + (n - bad) * self._good, self._weights)

    def state(self) -> dict[str, Any]:
        """All that is remembered, as JSON values."""
        return {"totals": self._totals.tolist()}

    @classmethod
    def restored(
        cls, state: dict[str, Any], threshold: float, method: Method, *, shape: tuple[int, ...] = ()
    ) -> OneRate:
        """The test that `state` came from; raises ValueError for one of another shape."""
        test = cls(threshold, method, shape=shape)
        totals = np.array(state["totals"], np.int64)
        if totals.shape != test._totals.shape:
            raise ValueError("this state is of another test: begin anew")
        test._totals = totals
        return test


def log_share_differs(inside: int, total: int, share: float) -> float:
    """Evidence that `inside` of `total` outcomes are not drawn with the chance `share` (0 to 1), on either side.

    The natural logarithm of a Beta mixture of likelihood ratios around `share`: an e-process in the totals, valid at
    every look (Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022). Where the
    share changes, the evidence of the parts adds up. 0 where the share leaves nothing to chance.
    """
    if not 0 <= inside <= total:
        raise ValueError(f"{inside} of {total} is no share")
    if not 0 < share < 1:
        return 0.0
    first, second = _SHARE_STRENGTH * share, _SHARE_STRENGTH * (1 - share)
    mixture = _log_beta(first + inside, second + total - inside) - _log_beta(first, second)
    return mixture - inside * math.log(share) - (total - inside) * math.log1p(-share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
