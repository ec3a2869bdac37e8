"""One rule for rollouts, for one or for thousands at once: the controller and `canari simulate` call the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canari.policy import sentences
from canari.policy.standing import Standing


class Verdict(IntEnum):
    """What a look at a rollout leads to."""

    HOLD = 0
    ADVANCE = 1
    PROMOTE = 2
    ROLL_BACK = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """How evidence becomes a verdict, from the specification's `canary` part.

    `alpha` is the chance of a false roll back over all metrics, steps and looks together, and of a false promotion.
    A step goes on at `advance_at` of evidence that the canary is no worse; the last one needs 1/alpha. Times in
    seconds.
    """

    alpha: float = 0.05
    bake: float = 600.0
    deadline: float = 14 * 86400.0
    on_deadline: Literal["hold", "promote", "rollback"] = "rollback"
    advance_at: float = 8.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the sentence that tells a person why, and the metric it is about where it is one.

    `barred` where something else than the evidence keeps a rollout from going on.
    """

    verdict: Verdict
    sentence: str
    metric: str | None = None
    barred: bool = False


def verdicts(
    rule: Rule,
    log_harm: ArrayLike,
    log_no_worse: ArrayLike,
    *,
    heard: ArrayLike,
    required: ArrayLike,
    step_seconds: ArrayLike,
    open_seconds: ArrayLike,
    last_step: ArrayLike,
) -> NDArray[np.int8]:
    """The `Verdict` of each rollout, shape (rollouts ...); its metrics lie along the last axis of the first four.

    Harm is found when the mean of the metrics' evidence reaches 1/alpha: a mean of e-processes is one, whatever
    depends on what (Vovk and Wang 2021), and a metric that is not heard gives it nothing. A step is over when it
    baked and every required metric reached its bar; without a required metric none ever is. No deadline promotes on
    the silence of a required metric.
    """
    harm, no_worse = np.asarray(log_harm, np.float64), np.asarray(log_no_worse, np.float64)
    speaks, needed = np.asarray(heard, np.bool_), np.asarray(required, np.bool_)
    baked = np.asarray(step_seconds) >= rule.bake
    late = np.asarray(open_seconds) >= rule.deadline
    last = np.asarray(last_step, np.bool_)
    least = np.where(last, math.log(bar(rule, last_step=True)), math.log(bar(rule, last_step=False)))
    any_needed, spared = needed.any(axis=-1), ~needed
    shown = ((speaks & (no_worse >= least[..., None])) | spared).all(axis=-1) & any_needed
    at_end = {"hold": Verdict.HOLD, "promote": Verdict.PROMOTE, "rollback": Verdict.ROLL_BACK}[rule.on_deadline]
    if at_end is Verdict.PROMOTE:
        late = late & (speaks | spared).all(axis=-1) & any_needed
    done = shown & baked
    found = np.where(late, at_end, np.where(done, Verdict.ADVANCE, Verdict.HOLD))
    found = np.where(done & last, Verdict.PROMOTE, found)
    return np.where(harmed(rule, harm, speaks), Verdict.ROLL_BACK, found).astype(np.int8)


def bar(rule: Rule, *, last_step: bool) -> float:
    """The evidence of "no worse" that a step needs."""
    return 1 / rule.alpha if last_step else min(rule.advance_at, 1 / rule.alpha)


def harmed(rule: Rule, log_harm: ArrayLike, heard: ArrayLike) -> NDArray[np.bool_]:
    """Whether the mean of the metrics' evidence, along the last axis, has reached 1/alpha."""
    harm = np.where(heard, log_harm, -np.inf)
    return np.asarray(np.logaddexp.reduce(harm, axis=-1) >= math.log(harm.shape[-1] / rule.alpha))


def decide(
    rule: Rule,
    standings: Sequence[Standing],
    *,
    step_seconds: float,
    open_seconds: float,
    last_step: bool,
    hold: str | None = None,
    barred: str | None = None,
) -> Judgement:
    """One rollout's verdict, by `verdicts`, and why.

    `hold` is the sentence of a guard that silences everything; `barred` of something that leaves harm alone to act.
    """
    if hold is not None:
        return Judgement(Verdict.HOLD, hold, barred=True)
    harm, heard = [s.log_harm for s in standings], [s.heard for s in standings]
    if not standings:
        why = barred or "no metric is judged: steer this rollout by hand, or give the canary metrics"
        return Judgement(Verdict.HOLD, why, barred=barred is not None)
    verdict = Verdict(
        int(
            verdicts(
                rule,
                harm,
                [s.log_no_worse for s in standings],
                heard=heard,
                required=[s.required for s in standings],
                step_seconds=step_seconds,
                open_seconds=open_seconds,
                last_step=last_step,
            )
        )
    )
    if verdict is Verdict.ROLL_BACK and harmed(rule, harm, heard):
        worst = max((s for s in standings if s.heard), key=lambda s: s.log_harm)
        return Judgement(verdict, sentences.harm(worst), worst.metric)
    if barred is not None:
        return Judgement(Verdict.HOLD, barred, barred=True)
    return _explained(rule, verdict, standings, step_seconds, open_seconds, last_step=last_step)


def _explained(
    rule: Rule,
    verdict: Verdict,
    standings: Sequence[Standing],
    step_seconds: float,
    open_seconds: float,
    *,
    last_step: bool,
) -> Judgement:
    """A verdict that is not about harm, and its sentence."""
    required = [s for s in standings if s.required]
    needed = bar(rule, last_step=last_step)
    waited = [s for s in required if not (s.heard and s.log_no_worse >= math.log(needed))]
    slowest = min(waited, key=lambda s: (s.heard, s.log_no_worse), default=None)
    baked = step_seconds >= rule.bake
    if not required:
        why = "no metric is required, so none can show that the canary is no worse"
    elif slowest is not None:
        why = sentences.waiting(slowest, needed)
    else:
        why = sentences.no_worse(required) if baked else sentences.baking(rule.bake - step_seconds)
    in_time = bool(required) and not waited and baked and last_step
    if open_seconds >= rule.deadline and not in_time:
        why = sentences.deadline("hold" if verdict is Verdict.HOLD else rule.on_deadline, why)
    return Judgement(verdict, why, slowest.metric if slowest else None)
