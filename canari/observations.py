"""What is seen of a rollout: what proxies counted, the evidence that follows from it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Counts:
    """What one Envoy counted of one cluster since it knows the cluster.

    `completed` is the requests that ended with a status, the version's own or one that Envoy gave in its place: each
    once, however often it was tried. (`upstream_rq_total` counts tries.) Those whose client left are in none of it.
    `classes` divides them by status class (2, 4, 5), `throttled` are the 429s among them. These and `latency` begin
    anew where Envoy is given the cluster's own settings anew, while `completed` goes on: where the classes grew by less
    than `completed`, some were lost.

    `timeouts`, `resets` (a connection lost with a request on it) and `connect_failures` tell why Envoy answered
    itself; they count tries. `latency` is (bound in ms, requests up to it), rising; the last bound is infinite.
    Envoy brings latency up to date every 5 seconds, all else at once.
    """

    completed: int = 0
    classes: Mapping[int, int] = field(default_factory=dict)
    throttled: int = 0
    timeouts: int = 0
    resets: int = 0
    connect_failures: int = 0
    latency: tuple[tuple[float, int], ...] = ()


# By the process that counted, then by Envoy cluster; None where the process did not answer. A process is named such
# that a restarted one has another name: one that is gone, or whose numbers fell because a cluster left and came again,
# is seen as such.
Counters = Mapping[str, Mapping[str, Counts] | None]


class Metric(StrEnum):
    """What two versions are compared by. `bad` of `n` stands for the unwished outcome, whichever the metric."""

    ERRORS = "errors"
    THROTTLED = "throttled"
    LATENCY = "latency"
    SATISFACTION = "satisfaction"
    ACCURACY = "accuracy"
    PARTICIPATION = "participation"
    AGREEMENT = "agreement"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look added to what is known of one side of a rollout: `bad` of `n`.

    errors and throttled: answers, and those of status 5xx or 429; latency: answers, and those over the budget;
    satisfaction: people's votes, and those that say wrong; accuracy: late labels, and those that differ from the
    answer; participation: predictions, and those without a vote; agreement, of a shadow alone: mirrored requests that
    both answered, and those it answered otherwise than stable. `tick` is the look's moment in ms since 1970, and rises
    from look to look. Rows of the same tick and step are one batch.
    """

    rollout: int
    tick: int
    step: int
    version: int
    metric: Metric
    n: int
    bad: int


class FaultKind(StrEnum):
    """What is wrong with what a look saw. But for `repeated`, which costs nothing, something is missing from it.

    No proxy answered (scrape), or one did not (unanswered), or it is gone with what it had counted (vanished); counts
    began anew (reset), their statuses are missing (lost), or they belong to no version for sure (moved); the clock
    went back; votes came in a burst; one person voted again and again (repeated). The canary cannot answer (absent),
    or stable cannot, and the canary has nothing beside it (alone); or some proxy may still split as before (unsettled).
    Predictions were made and never recorded (hole).
    """

    SCRAPE = "scrape"
    UNANSWERED = "unanswered"
    VANISHED = "vanished"
    RESET = "reset"
    LOST = "lost"
    MOVED = "moved"
    CLOCK = "clock"
    BURST = "burst"
    REPEATED = "repeated"
    ABSENT = "absent"
    ALONE = "alone"
    UNSETTLED = "unsettled"
    HOLE = "hole"


@dataclass(frozen=True, slots=True)
class Fault:
    """A hole in a look's evidence, as people read it."""

    kind: FaultKind
    sentence: str
