"""A rollout's evidence, look by look, until it is enough for a verdict: for whoever judges, looks on, or judges again.

A trial depends on nothing but its looks, in their order, and on the moment it is asked: the same looks lead to the same
judgement, in the controller as in a replay.
"""

# ruff: noqa: SLF001 - trials take in their looks together

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from canari.observations import Evidence, Fault, FaultKind, Metric
from canari.policy import sentences
from canari.policy.decide import Judgement, Verdict, decide
from canari.policy.guards import Part, participation_differs, split_differs
from canari.policy.rules import judged, rule_of
from canari.policy.standing import Standing
from canari.spec_canary import Canary, Margin
from canari.stats import RARE, VOTES, Method, Outcomes, TwoRates

_Rows = Mapping[tuple[Metric, int], tuple[int, int]]
_Counted = tuple[TwoRates, Outcomes]
# While one arm gets nothing, what the other gets is compared with nothing.
_APART = {FaultKind.ABSENT, FaultKind.ALONE}
_MOVING = _APART | {FaultKind.UNSETTLED}


@dataclass(frozen=True, slots=True)
class Course:
    """Where a rollout stands: its step, seconds since that began and since the rollout opened (pauses left out).

    `promoted` once the canary is the stable version, and the one of before is kept.
    """

    step: int
    step_seconds: float
    open_seconds: float
    paused: bool = False
    promoted: bool = False


def bars(faults: Iterable[Fault]) -> Fault | None:
    """The fault, if there is one, for which nothing advances and nothing is promoted."""
    return next((fault for fault in faults if fault.kind is not FaultKind.REPEATED), None)


class Trial:
    """What is known of `canary` against `stable`, judged by `rules`; `priors` are stable's rates of before."""

    def __init__(self, rules: Canary, *, stable: int, canary: int, priors: Mapping[str, float] | None = None) -> None:
        self.rules, self.stable, self.canary = rules, stable, canary
        self.tick: int | None = None  # of the last look taken in
        metrics = judged(rules)
        self._groups = [_Group(method, _tested_by(method, metrics), priors or {}) for method in (RARE, VOTES)]
        # By step: the requests of the canary and of both; those asked; those voted on.
        self._sent: dict[int, tuple[int, int]] = {}
        self._asked: dict[int, tuple[int, int]] = {}
        self._voted: dict[int, tuple[int, int]] = {}
        self._absent: tuple[int, int] | None = None
        self._moving = False

    def take(self, tick: int, evidence: Collection[Evidence], faults: Collection[Fault]) -> None:
        """Take in what a look found; each look once, in the order of their ticks (ms since 1970)."""
        self.take_together([(self, tick, evidence, faults)])

    @classmethod
    def take_together(cls, looks: Sequence[tuple[Trial, int, Collection[Evidence], Collection[Fault]]]) -> None:
        """Take in a look of each of several trials, as each by itself, at little more than the cost of one."""
        # A look that found nothing leaves no trace: whoever judges again does not know of it.
        found = [
            (trial, tick, _by_step(rows), {f.kind for f in faults})
            for trial, tick, rows, faults in looks
            if rows or faults
        ]
        for parts in zip_longest(*(steps for _, _, steps, _ in found)):
            taken: tuple[list[_Counted], ...] = ([], [])
            for (trial, _, _, kinds), part in zip(found, parts, strict=True):
                if part is not None:
                    for place, counted in enumerate(trial._hear(part[0], part[1], kinds)):
                        taken[place].extend(counted)
            for counted in taken:
                TwoRates.update_together([test for test, _ in counted], [outcomes for _, outcomes in counted])
        for trial, tick, _, kinds in found:
            trial._note(tick, kinds)

    def _hear(self, step: int, rows: _Rows, kinds: Collection[FaultKind]) -> Iterator[list[_Counted]]:
        """Count what a look found at a step; for each group what its test has to take in."""
        # Where the split is changing, so it may still be at the look after.
        if not _MOVING.intersection(kinds) and not self._moving:
            self._count(self._sent, step, {v: rows.get((Metric.ERRORS, v), (0, 0))[0] for v in self._arms})
        heard = {v: rows.get((Metric.PARTICIPATION, v), (0, 0)) for v in self._arms}
        self._count(self._asked, step, {version: n for version, (n, _) in heard.items()})
        self._count(self._voted, step, {version: n - silent for version, (n, silent) in heard.items()})
        requests, said = self._groups
        compared = self._both(rows) or not _APART.intersection(kinds)
        yield requests.counted(step, rows, *self._arms) if compared else []
        yield said.counted(step, rows, *self._arms)

    def _note(self, tick: int, kinds: Collection[FaultKind]) -> None:
        """Remember what was wrong with a look."""
        if FaultKind.ABSENT in kinds:
            since, last = self._absent or (tick, tick)
            self._absent = (since if tick - last < self._patience_ms else tick, tick)
        self._moving = bool(_MOVING.intersection(kinds))
        self.tick = tick

    def standings(self, course: Course) -> list[Standing]:
        """Where each metric stands."""
        unlike = participation_differs([(*self._voted[step], share) for step, share in self._shares().items()])
        return [
            standing
            for group in self._groups
            for standing in group.standings(
                course.step, self._required(course), {Metric.SATISFACTION: unlike} if unlike else {}
            )
        ]

    def judge(self, at: int, course: Course, faults: Collection[Fault] = ()) -> Judgement:
        """What is to become of the rollout at a moment (ms since 1970); `faults` are those of a look at this moment."""
        if FaultKind.ABSENT in {fault.kind for fault in faults} and self._absent is not None:
            gone = at - self._absent[0]
            if gone >= self._patience_ms:
                return Judgement(Verdict.ROLL_BACK, sentences.gone(self.canary, gone / 1000))
        barring = bars(faults)
        barred = barring.sentence if barring else None
        if course.paused:
            barred = "paused: it neither advances nor is promoted until it is resumed"
        if course.promoted:
            barred = f"promoted: version {self.stable} is kept a while, to go back to"
        return decide(
            rule_of(self.rules),
            self.standings(course),
            step_seconds=course.step_seconds,
            open_seconds=course.open_seconds,
            last_step=course.step >= len(self.rules.steps) - 1,
            hold=None if course.promoted else split_differs(self._parts()),
            barred=barred,
        )

    def state(self) -> dict[str, Any]:
        """All that is remembered, as JSON values."""
        return {
            "tick": self.tick,
            "groups": [group.state() for group in self._groups],
            "sent": list(self._sent.items()),
            "asked": list(self._asked.items()),
            "voted": list(self._voted.items()),
            "absent": self._absent,
            "moving": self._moving,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; raises ValueError for that of a trial by other rules, and stays as it was."""
        for group, remembered in zip(self._groups, state["groups"], strict=True):
            group.restore(remembered)
        self.tick = state["tick"]
        self._sent, self._asked, self._voted = (
            {step: (counts[0], counts[1]) for step, counts in state[name]} for name in ("sent", "asked", "voted")
        )
        self._absent = (state["absent"][0], state["absent"][1]) if state["absent"] else None
        self._moving = state["moving"]

    @property
    def _arms(self) -> tuple[int, int]:
        return self.stable, self.canary

    @property
    def _patience_ms(self) -> float:
        return self.rules.progress.total_seconds() * 1000

    def _both(self, rows: _Rows) -> bool:
        return all(rows.get((Metric.ERRORS, version), (0, 0))[0] for version in self._arms)

    def _count(self, into: dict[int, tuple[int, int]], step: int, counted: Mapping[int, int]) -> None:
        canary, both = into.get(step, (0, 0))
        into[step] = canary + counted[self.canary], both + counted[self.canary] + counted[self.stable]

    def _parts(self) -> list[Part]:
        """The canary's requests, those of both, and its weight, for each step that divides the traffic."""
        weights = {step: weight for step, weight in enumerate(self.rules.steps) if isinstance(weight, int)}
        return [(*both, weights[step] / 100) for step, both in self._sent.items() if step in weights]

    def _shares(self) -> dict[int, float]:
        return {step: canary / both for step, (canary, both) in self._asked.items() if both}

    def _required(self, course: Course) -> set[Metric]:
        """The metrics that a verdict waits for: none once it is promoted, and of a shadow nobody can say a thing."""
        if course.promoted:
            return set()
        if self.rules.steps[course.step] == "shadow":
            return {Metric.ERRORS}
        return {metric for group in self._groups for metric, margin in group.metrics.items() if margin.required}


def figures(judgement: Judgement, standings: Iterable[Standing], *, at: int, course: Course) -> dict[str, Any]:
    """A judgement and all that it follows from, as JSON values."""
    return {
        "at": at,
        "verdict": judgement.verdict.name.lower(),
        "sentence": judgement.sentence,
        "metric": judgement.metric,
        "barred": judgement.barred,
        **asdict(course),
        "metrics": {one.metric: asdict(one) for one in standings},
    }


class _Group:
    """The metrics of one kind, tested together: each an element of arrays of shape (metrics,)."""

    def __init__(self, method: Method, metrics: Mapping[Metric, Margin], priors: Mapping[str, float]) -> None:
        self.method, self.metrics = method, metrics
        self._margins = [margin.margin for margin in metrics.values()]
        self._priors = [priors.get(metric, method.prior) for metric in metrics]
        self._test = TwoRates(self._margins, method, prior=self._priors, shape=(len(metrics),))
        self._totals = np.zeros((4, len(metrics)), np.int64)
        # The step that the evidence of "no worse" is of: votes and labels come later than their requests' step.
        self._steps = np.full(len(metrics), -1)
        # What was last asked of the standings, and the answer: votes and labels are seldom heard.
        self._said: tuple[object, list[Standing]] | None = None

    def counted(self, step: int, rows: _Rows, stable: int, canary: int) -> list[_Counted]:
        """Count a look's rows; the test, and what it has to take in, unless that is nothing."""
        if not any(metric in self.metrics for metric, _ in rows):
            return []
        counts = np.array(
            [(*rows.get((metric, stable), (0, 0)), *rows.get((metric, canary), (0, 0))) for metric in self.metrics],
            np.int64,
        )
        counts = counts.reshape(-1, 4).T
        told = counts.any(axis=0)
        if not told.any():
            return []
        later = told & (self._steps < step)
        if later.any():
            self._test.restart_no_worse(later)
            self._steps[later] = step
        self._totals += counts
        self._said = None
        return [(self._test, (counts[0], counts[1], counts[2], counts[3]))]

    def standings(self, step: int, required: Collection[Metric], mistrust: Mapping[Metric, str]) -> list[Standing]:
        asked = step, required, mistrust
        if self._said is None or self._said[0] != asked:
            self._said = asked, list(self._standings(step, required, mistrust))
        return self._said[1]

    def _standings(self, step: int, required: Collection[Metric], mistrust: Mapping[Metric, str]) -> Iterator[Standing]:
        totals, steps = self._totals.T.tolist(), self._steps.tolist()
        harm, no_worse = self._test.log_harm.tolist(), self._test.log_no_worse.tolist()
        for place, (metric, margin) in enumerate(self.metrics.items()):
            stable_n, stable_bad, canary_n, canary_bad = totals[place]
            yield Standing(
                metric.value,
                margin.margin,
                stable_n,
                stable_bad,
                canary_n,
                canary_bad,
                harm[place],
                no_worse[place] if steps[place] == step else 0.0,
                required=metric in required,
                minimum=self.method.minimum,
                mistrust=mistrust.get(metric),
            )

    def state(self) -> dict[str, Any]:
        return {"test": self._test.state(), "totals": self._totals.tolist(), "steps": self._steps.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        shape = (len(self.metrics),)
        self._test = TwoRates.restored(state["test"], self._margins, self.method, prior=self._priors, shape=shape)
        self._totals = np.array(state["totals"], np.int64)
        self._steps = np.array(state["steps"])
        self._said = None


def _by_step(evidence: Iterable[Evidence]) -> list[tuple[int, _Rows]]:
    found: dict[int, dict[tuple[Metric, int], tuple[int, int]]] = {}
    for row in evidence:
        found.setdefault(row.step, {})[row.metric, row.version] = row.n, row.bad
    return sorted(found.items())


def _tested_by(method: Method, metrics: Mapping[Metric, tuple[Margin, Method]]) -> dict[Metric, Margin]:
    return {metric: margin for metric, (margin, its) in metrics.items() if its is method}
