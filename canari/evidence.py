"""From what each proxy has counted in all to what happened to each arm since the last look, in integers. Pure.

Three rules: nothing counts twice, no version ever answers for another one's requests, and whatever is not counted is
told. Requests are left out before any are put on the wrong side.

**Who reads when.** A look is made at every tick, and one right before a split changes: what it finds belongs to the
split of before. From the moment a change is asked for until every proxy surely follows, looks say `settled=False`.
Meanwhile a cluster that goes on serving the same version goes on counting for the arm it had (a change of weight alone
loses nothing), and a cluster that gets another version counts for nobody, for its requests may be of either. The first
look with `settled=True` closes that time; from it on the clusters count for the new arms.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from canari.observations import Counters, Counts, Evidence, Fault, FaultKind, Metric
from canari.types import Arm

# Counters are read one after the other while requests go on: so many may be in one and not yet in the next.
_RACE = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one proxy process's cluster has been read, and for which arm it counts from there; None: for nobody.

    `seen_at` is the tick of the look that read it.
    """

    counts: Counts
    arm: Arm | None
    seen_at: int


# By process and cluster.
Marks = Mapping[tuple[str, str], Mark]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the gateway found: the evidence, where the next look goes on, and the holes."""

    evidence: tuple[Evidence, ...]
    marks: Marks
    faults: tuple[Fault, ...] = ()


def tick_after(last: int | None, now: datetime) -> tuple[int, Fault | None]:
    """The tick of a look at `now` (aware): ms since 1970, and always more than the last look's."""
    tick = int(now.timestamp() * 1000)
    if last is None or tick > last:
        return tick, None
    sentence = f"the clock went back from {_time(last)} to {_time(tick)}: what is due by the clock waits until then"
    return last + 1, Fault(FaultKind.CLOCK, sentence)


def latency_bound(budget_ms: float, latency: tuple[tuple[float, int], ...]) -> float:
    """The bound (ms) that latency is judged by: the least of Envoy's bucket bounds that is not under the budget.

    Envoy's own are 0.5, 1, 5, 10, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10, 30 s, 1, 5, 10, 30 min and 1 h: it counts
    requests up to these, and no request within the budget may count as over it.
    """
    return min((bound for bound, _ in latency if bound >= budget_ms), default=math.inf)


def look(
    marks: Marks,
    counters: Counters | None,
    arms: Mapping[str, Arm],
    *,
    rollout: int,
    tick: int,
    settled: bool,
    budget_ms: float | None,
) -> Seen:
    """What `counters` say more than `marks`, for the arms of one rollout.

    `marks` are those of the last look, empty at a rollout's first: then nothing is known of what came before, and
    counting begins. `counters` is None where they could not be read: there is no evidence then, and the next look
    finds what this one missed. `arms` is the arm of each cluster in the split that was last asked for.
    """
    if counters is None or all(clusters is None for clusters in counters.values()):
        sentence = "no proxy of the gateway told its counts: nothing is known of errors and latency for now"
        unread = {place: _unread(mark, arms.get(place[1])) for place, mark in marks.items()}
        return Seen((), unread, (Fault(FaultKind.SCRAPE, sentence),))
    looking = _Look(marks, arms, rollout, tick, settled, budget_ms)
    for process, clusters in counters.items():
        looking.read(process, clusters)
    for process in {process for process, _ in marks} - set(counters):
        looking.miss(process)
    return looking.seen()


def counts_document(counts: Counts) -> dict[str, Any]:
    """The part of the counts that evidence is made of, as JSON values."""
    return {
        "completed": counts.completed,
        "classes": {str(digit): n for digit, n in counts.classes.items()},
        "throttled": counts.throttled,
        "latency": [[None if math.isinf(bound) else bound, n] for bound, n in counts.latency],
    }


def counts_of(document: Mapping[str, Any]) -> Counts:
    """The counts of a document."""
    return Counts(
        completed=document["completed"],
        classes={int(digit): n for digit, n in document["classes"].items()},
        throttled=document["throttled"],
        latency=tuple((math.inf if bound is None else float(bound), n) for bound, n in document["latency"]),
    )


@dataclass(frozen=True, slots=True)
class _Growth:
    """What one cluster counted between two readings."""

    completed: int
    classified: int
    errors: int
    throttled: int
    timed: int
    over: int
    reset: bool
    counts: Counts  # how far it has been read now

    @property
    def lost(self) -> int:
        """Requests that ended and whose status is not known."""
        missing = self.completed - self.classified
        return missing if missing > (0 if self.reset else _RACE + self.completed // 100) else 0


@dataclass
class _Look:
    marks: Marks
    arms: Mapping[str, Arm]
    rollout: int
    tick: int
    settled: bool
    budget_ms: float | None
    _sums: dict[tuple[int, int, Metric], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    _faults: list[Fault] = field(default_factory=list)
    _read: dict[tuple[str, str], Mark] = field(default_factory=dict)

    def read(self, process: str, clusters: Mapping[str, Counts] | None) -> None:
        """Take in what one process tells; None where it did not answer."""
        if clusters is None:
            self._tell(FaultKind.UNANSWERED, f"proxy {process} did not answer: what it counts is read later")
        for cluster in {**self.arms, **{name: None for owner, name in self.marks if owner == process}}:
            mark = self.marks.get((process, cluster)) or self._unmarked(cluster)
            wanted = self.arms.get(cluster)
            if clusters is None:
                self._read[process, cluster] = _unread(mark, wanted)
            elif cluster in clusters:
                growth = _growth(mark.counts, clusters[cluster], self.budget_ms)
                if self.marks:
                    self._count(mark, wanted, growth, cluster)
                self._read[process, cluster] = Mark(growth.counts, self._arm_from_now(mark.arm, wanted), self.tick)
            elif mark.arm is not None and mark.arm.rollout == self.rollout and mark.counts.completed and wanted:
                self._tell(FaultKind.RESET, f"{cluster} left proxy {process}{_since(mark)}")

    def miss(self, process: str) -> None:
        """Tell of a process that is there no more."""
        left = [mark for (owner, _), mark in self.marks.items() if owner == process]
        if any(mark.arm is not None and mark.arm.rollout == self.rollout for mark in left):
            self._tell(FaultKind.VANISHED, f"proxy {process} is gone{_since(left[0])}")

    def seen(self) -> Seen:
        """What was found."""
        evidence = tuple(
            Evidence(self.rollout, self.tick, step, version, metric, n, bad)
            for (step, version, metric), (n, bad) in sorted(self._sums.items())
            if n
        )
        return Seen(evidence, self._read, tuple(self._faults))

    def _unmarked(self, cluster: str) -> Mark:
        """Where to count from for what the last look did not see.

        Every process and every cluster of that time has a mark, so this one began after it, at zero, and served what
        the place has been serving since: that of the newest mark, for a process that did not answer has an older one.
        At the first look nobody knows, nor where marks are of more versions than one.
        """
        if not self.marks:
            return Mark(Counts(), None, self.tick)
        before = [mark.arm for (_, name), mark in self.marks.items() if name == cluster]
        arms = [arm for arm in before if arm is not None]
        if len(arms) < len(before) or len({arm.version for arm in arms}) > 1:
            return Mark(Counts(), None, self.tick)
        newest = max(arms, key=lambda arm: (arm.rollout, arm.step), default=self.arms.get(cluster))
        return Mark(Counts(), newest, self.tick)

    def _arm_from_now(self, before: Arm | None, wanted: Arm | None) -> Arm | None:
        if self.settled:
            return wanted
        return before if _same_version(before, wanted) else None

    def _count(self, mark: Mark, wanted: Arm | None, growth: _Growth, cluster: str) -> None:
        arm = mark.arm
        if arm is None or (wanted is not None and arm.version != wanted.version):
            if growth.completed and wanted is not None:
                said = (
                    f"{growth.completed} requests to {cluster} came while the split changed: they count for no version"
                )
                self._tell(FaultKind.MOVED, said)
            return
        if arm.rollout != self.rollout:
            return
        if growth.reset:
            self._tell(FaultKind.RESET, f"version {arm.version}'s counts began anew{_since(mark)}")
        if growth.lost:
            said = f"the status of {growth.lost} of {growth.completed} answers of version {arm.version} is lost"
            self._tell(FaultKind.LOST, said)
        figures = {
            Metric.ERRORS: (growth.classified, growth.errors),
            Metric.THROTTLED: (growth.classified, growth.throttled),
            Metric.LATENCY: (growth.timed, growth.over),
        }
        for metric, (n, bad) in figures.items():
            sums = self._sums[arm.step, arm.version, metric]
            sums[0] += n
            sums[1] += bad

    def _tell(self, kind: FaultKind, sentence: str) -> None:
        self._faults.append(Fault(kind, sentence))


def _growth(old: Counts, new: Counts, budget_ms: float | None) -> _Growth:
    reset = new.completed < old.completed
    # Status classes and 429s begin anew together, by themselves or with all the rest.
    anew = new.throttled < old.throttled or any(new.classes.get(digit, 0) < n for digit, n in old.classes.items())
    since = Counts() if reset or anew else old
    classes = {digit: n - since.classes.get(digit, 0) for digit, n in new.classes.items()}
    # A 429 that is not yet among the 4xx is left for the next look.
    throttled = min(new.throttled - since.throttled, classes.get(4, 0))
    limit = math.inf if budget_ms is None else latency_bound(budget_ms, new.latency)
    needed = {limit, math.inf}
    latency = tuple((bound, n) for bound, n in new.latency if bound in needed)
    began = dict(old.latency)
    if reset or any(n < began.get(bound, 0) for bound, n in latency):
        began = {}
    timed = {bound: n - began.get(bound, 0) for bound, n in latency}
    total = timed.get(math.inf, 0)
    return _Growth(
        completed=new.completed - (0 if reset else old.completed),
        classified=sum(classes.values()),
        errors=classes.get(5, 0),
        throttled=throttled,
        timed=0 if budget_ms is None else total,
        over=total - timed.get(limit, total),
        reset=reset or anew,
        counts=Counts(
            completed=new.completed,
            classes=dict(new.classes),
            throttled=since.throttled + throttled,
            latency=latency,
        ),
    )


def _unread(mark: Mark, wanted: Arm | None) -> Mark:
    """Where to go on at a cluster that did not answer: its place may have two changes of version before it does."""
    return mark if _same_version(mark.arm, wanted) else replace(mark, arm=None)


def _same_version(arm: Arm | None, other: Arm | None) -> bool:
    return arm is not None and other is not None and arm.version == other.version


def _since(mark: Mark) -> str:
    return f": what it counted after {_time(mark.seen_at)} is not known"


def _time(tick: int) -> str:
    return datetime.fromtimestamp(tick / 1000, tz=UTC).strftime("%H:%M:%S UTC")
