"""Judging a rollout again: do the looks that were kept lead to the decisions that were made? Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canari.observations import Evidence, Fault
from canari.policy.decide import Judgement, Verdict
from canari.policy.trial import Course, Trial, figures
from canari.spec_canary import Canary

Look = tuple[int, Collection[Evidence], Collection[Fault]]
_ACTIONS = {"advance": Verdict.ADVANCE, "promoted": Verdict.PROMOTE, "rolled_back": Verdict.ROLL_BACK}
_NEAR = 1e-9  # between the logarithms of evidence
# A verdict that something was done about within this time was not missed: the judge may have been starting again, or a
# person was quicker.
_LATE_MS = 60_000
# Between what a decision says of its own time and what the history says.
_CLOCKS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as it was recorded, `at` in ms since 1970; `verdict` and `tick` are None where people decided.

    `tick` is the newest look that it knew, and `verdict` the document of `canari.policy.figures`.
    """

    id: int
    action: str
    actor: str
    at: int
    code_version: str
    tick: int | None = None
    verdict: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """A decision beside what its evidence leads to; `recomputed` is None for a person's, which nothing recomputes.

    Without `id` it is a look (`at`, ms since 1970) at which nothing was decided, though the evidence says otherwise;
    `same` then tells whether that was made good at once. `why` tells what differs, or what a reader ought to know.
    """

    id: int | None
    at: int
    action: str | None
    actor: str | None
    recorded: str | None
    recomputed: str | None
    same: bool
    why: str | None = None


def replay(
    rules: Canary | None,
    decisions: Sequence[Decided],
    looks: Iterable[Look],
    *,
    stable: int | None,
    canary: int,
    code_version: str,
    priors: Mapping[str, float] | None = None,
) -> list[Compared]:
    """Every decision in order, and each look between them at which the evidence led to something else than holding.

    `looks` come in the order of their ticks. `rules` are None for a rollout that people steer: nothing of it is
    recomputed. `priors` are stable's rates of before it, `code_version` is today's.
    """
    if rules is None or stable is None:
        return [_by_person(made) for made in decisions]
    trial = Trial(rules, stable=stable, canary=canary, priors=priors)
    judging = _Replay(trial, decisions, code_version)
    for look in looks:
        judging.look(*look)
    return judging.end()


class _Clock:
    """Where a rollout stood, by the decisions so far: what its row said at that time."""

    def __init__(self) -> None:
        self.on_trial = False
        self._opened = self._began = self._step = 0
        self._paused: int | None = None
        self._promoted = False

    def follow(self, made: Decided) -> None:
        """Go on to what a decision made of it."""
        if made.action == "start":
            self.on_trial, self._opened, self._began = True, made.at, made.at
        elif made.action == "advance":
            self._step, self._began = self._step + 1, made.at
        elif made.action == "pause":
            self._paused = made.at
        elif made.action == "resume" and self._paused is not None:
            # As with the deadline: the pause is left out of what it was open, and not of what the step lasted.
            self._opened += made.at - self._paused
            self._paused = None
        elif made.action == "promoted" and made.verdict is not None:
            self._step, self._began, self._promoted = self._step + 1, made.at, True
        elif made.action != "queued":
            self.on_trial = False

    def course(self, at: int) -> Course:
        """Where it stood at a moment."""
        return Course(
            step=self._step,
            step_seconds=(at - self._began) / 1000,
            open_seconds=((at if self._paused is None else self._paused) - self._opened) / 1000,
            paused=self._paused is not None,
            promoted=self._promoted,
        )


class _Replay:
    def __init__(self, trial: Trial, decisions: Sequence[Decided], code_version: str) -> None:
        self._trial = trial
        self._clock = _Clock()
        self._queue = _in_order(decisions)
        self._code_version = code_version
        self._found: list[Compared] = []
        self._missed: Compared | None = None

    def look(self, tick: int, evidence: Collection[Evidence], faults: Collection[Fault]) -> None:
        """Go on by a look, and by what was decided before it or on it."""
        self._decide_until(tick - 1)
        self._trial.take(tick, evidence, faults)
        if any(made.verdict is not None for at, made in self._queue if at == tick):
            self._decide_until(tick, faults)
        elif self._clock.on_trial:
            self._hold(tick, self._trial.judge(tick, self._clock.course(tick), faults))

    def end(self) -> list[Compared]:
        """All that was found, once the looks are over."""
        self._decide_until(math.inf)
        if self._missed is not None and self._clock.on_trial and self._missed.at == self._trial.tick:
            self._settle_missed(same=True, why="the newest look says so, and nothing is decided yet")
        self._settle_missed()
        return self._found

    def _hold(self, tick: int, said: Judgement) -> None:
        """Nothing was decided at a look: the evidence ought to say so too."""
        verdict = said.verdict.name.lower()
        if self._missed is not None and self._missed.recomputed == verdict:
            return
        self._settle_missed()
        if said.verdict is not Verdict.HOLD:
            self._missed = Compared(None, tick, None, None, "hold", verdict, same=False, why=said.sentence)

    def _settle_missed(self, *, same: bool = False, why: str | None = None) -> None:
        if self._missed is not None:
            told = f"{self._missed.why} ({why})" if why else self._missed.why
            self._found.append(replace(self._missed, same=same, why=told))
            self._missed = None

    def _decide_until(self, last: float, faults: Collection[Fault] = ()) -> None:
        while self._queue and self._queue[0][0] <= last:
            self._decide(*self._queue.popleft(), faults)

    def _decide(self, moment: int, made: Decided, faults: Collection[Fault]) -> None:
        if self._missed is not None:
            seconds = (moment - self._missed.at) / 1000
            soon = 1000 * seconds <= _LATE_MS and (made.verdict is None or self._missed.recomputed == _wanted(made))
            self._settle_missed(same=soon, why=f"{made.action} {seconds:.0f} s later, by {made.actor}")
        if made.verdict is None:
            self._found.append(_by_person(made))
        else:
            self._found.append(self._judged_again(made, made.verdict, moment, faults))
        self._clock.follow(made)

    def _judged_again(
        self, made: Decided, recorded: Mapping[str, Any], moment: int, faults: Collection[Fault]
    ) -> Compared:
        derived = self._clock.course(moment)
        course = _course(recorded, derived)
        said = self._trial.judge(moment, course, faults)
        document = figures(said, self._trial.standings(course), at=moment, course=course)
        found = _of_time(course, derived) + _differences(recorded, document)
        if (self._trial.tick or moment) != made.tick:
            found.insert(0, f"the newest look kept is of {self._trial.tick}, and it knew one of {made.tick}")
        if _wanted(made) != recorded.get("verdict"):
            found.append(f"{made.action} is not what the verdict says")
        why = "; ".join(found) or None
        if made.code_version != self._code_version:
            told = f"decided by release {made.code_version}, judged again by {self._code_version}"
            why = f"{why}; {told}" if why else told
        told_verdict = str(recorded.get("verdict"))
        return Compared(
            made.id, moment, made.action, made.actor, told_verdict, document["verdict"], same=not found, why=why
        )


def _in_order(decisions: Sequence[Decided]) -> deque[tuple[int, Decided]]:
    """Each with the moment at which it was judged, or a person decided.

    People's decisions are dated by the database's clock, which may be ahead of the judge's: none comes later than the
    verdict that was found after it.
    """
    queue: deque[tuple[int, Decided]] = deque()
    following = math.inf
    for made in reversed(decisions):
        at = made.at if made.verdict is None else made.verdict.get("at", made.at if made.tick is None else made.tick)
        following = min(at, following)
        queue.appendleft((int(following), made))
    return queue


def _wanted(made: Decided) -> str | None:
    verdict = _ACTIONS.get(made.action)
    return None if verdict is None else verdict.name.lower()


def _by_person(made: Decided) -> Compared:
    return Compared(made.id, made.at, made.action, made.actor, None, None, same=True)


def _course(recorded: Mapping[str, Any], derived: Course) -> Course:
    """Where the rollout stood as the decision says; what it does not say, as the history does."""
    names = Course.__slots__
    return replace(derived, **{name: recorded[name] for name in names if name in recorded})


def _of_time(said: Course, derived: Course) -> list[str]:
    """Where a decision's own time is not the history's."""
    found = []
    for name in ("step", "paused", "promoted"):
        ours, theirs = getattr(derived, name), getattr(said, name)
        if ours != theirs:
            found.append(f"{name}: {theirs} recorded, {ours} by the history")
    for name in ("step_seconds", "open_seconds"):
        ours, theirs = getattr(derived, name), getattr(said, name)
        if abs(ours - theirs) > _CLOCKS_SECONDS:
            found.append(f"{name}: {theirs:.0f} recorded, {ours:.0f} by the history")
    return found


def _differences(recorded: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What the recorded document says otherwise than the recomputed one."""
    found = [
        f"{name}: {recorded.get(name)!r} recorded, {ours[name]!r} recomputed"
        for name in ("verdict", "metric", "barred", "sentence")
        if recorded.get(name) != ours[name]
    ]
    theirs = recorded.get("metrics", {})
    for metric in sorted({*theirs, *ours["metrics"]}):
        before, after = theirs.get(metric), ours["metrics"].get(metric)
        if before is None or after is None:
            found.append(f"{metric}: {'not ' if before is None else ''}recorded, {'not ' if after is None else ''}now")
            continue
        found += [
            f"{metric}.{name}: {before.get(name)!r} recorded, {value!r} recomputed"
            for name, value in after.items()
            if not _alike(before.get(name), value)
        ]
    return found


def _alike(recorded: object, ours: object) -> bool:
    if isinstance(ours, float) and isinstance(recorded, int | float):
        return math.isclose(recorded, ours, rel_tol=_NEAR, abs_tol=_NEAR)
    return recorded == ours
