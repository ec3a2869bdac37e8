"""What must hold before evidence may speak: each guard tells what is wrong in a sentence, or None."""

from __future__ import annotations

import math
from collections.abc import Sequence

from canari.stats import log_share_differs

_ALPHA = 0.001  # the chance, over a whole rollout, that a guard speaks of arms that are as they should be
_SPLIT = 0.05  # relative differences smaller than these are nobody's trouble, however certain
_PARTICIPATION = 0.1

# The canary's number, the number of both arms, and the share of the canary.
Part = tuple[int, int, float]


def split_differs(steps: Sequence[Part]) -> str | None:
    """Sample-ratio mismatch: the arms' requests against the configured weight, for each step of the rollout.

    A canary that gets more or less than its share is not compared on the same population. All metrics are silent.
    """
    if not _differs(steps, _SPLIT):
        return None
    got, due, total = _sums(steps)
    return (
        f"the canary got {got:,} of {total:,} requests where its weight makes it {due:,.0f}: the arms do not see the "
        f"same requests, so nothing is decided; look at the gateway's routes"
    )


def participation_differs(steps: Sequence[Part], of: str = "votes") -> str | None:
    """The canary's share of the votes (or labels) against its share of the requests, for each step of the rollout.

    People who answer more, or less, because of what they were shown are not to be compared. The metric is silent.
    """
    if not _differs(steps, _PARTICIPATION):
        return None
    got, due, total = _sums(steps)
    return (
        f"the canary got {got:,} of {total:,} {of} where its share of the requests makes it {due:,.0f}: people do not "
        f"answer alike in both arms, so this is not compared"
    )


def _differs(steps: Sequence[Part], least: float) -> bool:
    evidence = sum(log_share_differs(inside, total, share) for inside, total, share in steps)
    got, due, _ = _sums(steps)
    return evidence >= math.log(1 / _ALPHA) and abs(got - due) > least * due


def _sums(steps: Sequence[Part]) -> tuple[int, float, int]:
    return (
        sum(inside for inside, _, _ in steps),
        sum(total * share for _, total, share in steps),
        sum(total for _, total, _ in steps),
    )
