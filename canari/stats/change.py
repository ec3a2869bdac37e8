"""Whether a rate that was low has become too high, at a time that nobody knows.

An e-detector: Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", New
England Journal of Statistics in Data Science, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from canari.stats.methods import Method
from canari.stats.one_rate import OneRate


@dataclass(frozen=True, slots=True)
class Change:
    """The logarithm of the evidence for a change, and the batch from which on it is strongest."""

    log_evidence: float
    first: int


def change(threshold: float, method: Method, n: ArrayLike, bad: ArrayLike) -> Change | None:
    """Evidence that the rate of bad outcomes is over `threshold` from some batch on; None without a batch.

    `n` and `bad`, shape (batches,), are whole numbers of outcomes. The evidence is the sum, over every batch that a
    change may begin with, of the e-process of `OneRate` from there on (Shiryaev and Roberts). While the rate, moving as
    it likes, stays at or under the threshold, the first time that this sum reaches A comes after at least A batches on
    average, however often one looks.
    """
    totals = np.stack([np.atleast_1d(np.asarray(counts)) for counts in (n, bad)])
    if not totals.shape[1]:
        return None
    since = totals[:, ::-1].cumsum(axis=1)[:, ::-1]
    test = OneRate(threshold, method, shape=(totals.shape[1],))
    test.update(*since)
    return Change(float(np.logaddexp.reduce(test.log_worse)), int(test.log_worse.argmax()))
