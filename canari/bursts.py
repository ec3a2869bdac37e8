"""Votes that come in a burst, told from votes as they usually come. Pure.

One vote per person bounds what one person can do; it does not bound what somebody with many names can. So each arm's
votes are watched for a rate far above that arm's own history, in two ways: votes per request, which days and nights
leave alone, and votes per second, once a day is known, for whoever asks much to vote much. Each is Page's cumulative
sum (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954) of the log likelihood ratio of Poisson counts at
a multiple of the usual rate against the usual one: it sees a short flood and a long swell alike, and needs one number.

Only how many votes there are is looked at, never what they say: what is left out for a burst takes no side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from canari.observations import Fault, FaultKind

# The sums begin to rise at 1.8 times the usual votes per request, and at 3.9 times the usual votes per second.
PER_REQUEST = 3.0
PER_SECOND = 10.0
# The fewest votes beyond the usual that can be a burst, and the votes from which on a history is one.
LEAST = 20
_DAY = 86_400.0
# So many votes of one person in one window are told of.
_MUCH = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How votes have come on one arm: `votes` on `asked` requests in `seconds`, bursts left out; and the two sums."""

    votes: int = 0
    asked: int = 0
    seconds: float = 0.0
    per_request: float = 0.0
    per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """What came on one arm within `seconds`: requests, the votes that count, and how often the busiest person voted."""

    votes: int
    asked: int
    seconds: float
    busiest: int = 0


def watch(pace: Pace, window: Window, version: int) -> tuple[Pace, Fault | None]:
    """The arm's pace after a window, and what is to be told: BURST where its votes are to be left out, else REPEATED.

    Until an arm has `LEAST` votes nothing is known of its pace: they are taken as they come.
    """
    learnt = replace(
        pace,
        votes=pace.votes + window.votes,
        asked=pace.asked + window.asked,
        seconds=pace.seconds + window.seconds,
    )
    if pace.votes < LEAST:
        return learnt, _repeated(window, version)
    by_requests = pace.votes / pace.asked * window.asked
    by_time = pace.votes / pace.seconds * window.seconds if pace.seconds >= _DAY else math.inf
    per_request, many = _sum(pace.per_request, window.votes, by_requests, PER_REQUEST)
    per_second, fast = _sum(pace.per_second, window.votes, by_time, PER_SECOND)
    if many or fast:
        usual = f"{by_requests:.1f} are usual on so many requests" if many else f"{by_time:.1f} are usual in that time"
        sentence = (
            f"{window.votes} people voted on version {version} within {_lasting(window.seconds)}, part of a burst "
            f"({usual}): the votes of that time are left out"
        )
        return replace(pace, per_request=per_request, per_second=per_second), Fault(FaultKind.BURST, sentence)
    return replace(learnt, per_request=per_request, per_second=per_second), _repeated(window, version)


def _sum(before: float, votes: int, usual: float, factor: float) -> tuple[float, bool]:
    """Page's sum after a window, and whether it is over the threshold."""
    threshold = LEAST * math.log(factor)
    after = max(0.0, before + votes * math.log(factor) - (factor - 1) * usual)
    # However high a burst was, it ends soon after its last vote.
    return min(after, 1.25 * threshold), after > threshold


def _repeated(window: Window, version: int) -> Fault | None:
    if window.busiest < _MUCH:
        return None
    sentence = (
        f"one person voted {window.busiest} times on version {version} within {_lasting(window.seconds)}: "
        f"one vote of each person counts"
    )
    return Fault(FaultKind.REPEATED, sentence)


def _lasting(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}".replace(".0 ", " ")
    return f"{seconds:.0f} s"
