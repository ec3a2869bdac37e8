"""The users' own rule: too many of those who answer say that the model is wrong."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canari.policy.sentences import confidence


def users_unhappy(
    log_worse: ArrayLike, votes: ArrayLike, predictions: ArrayLike, *, participation: float, alpha: float = 0.05
) -> NDArray[np.bool_]:
    """Whether the rule speaks; broadcasts. All counts are those since the version became stable.

    `log_worse` is the evidence of a `canari.stats.OneRate` against the share of wrong answers that is still borne. With
    it, a model that is just good enough is called bad with a chance of at most alpha, for as long as it serves and
    however often this is asked. `participation` is the least share of predictions that must have been voted on.
    """
    heard = np.asarray(votes) > participation * np.asarray(predictions)
    return np.asarray((np.asarray(log_worse) >= math.log(1 / alpha)) & heard)


def unhappy_sentence(below: float, votes: int, right: int, predictions: int, log_worse: float) -> str:
    """Why the rule speaks."""
    return (
        (
            f"feedback: {right / max(votes, 1):.0%} right of {votes:,} votes on {predictions:,} predictions, less than "
            f"{below:.0%} with {confidence(log_worse)} confidence"
        )
        .replace("%", " %")
        .replace("  %", " %")
    )
