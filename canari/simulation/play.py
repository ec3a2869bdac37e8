"""Playing rules in a world, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari.policy import Verdict
from canari.simulation.draws import Draws
from canari.simulation.rules import Moment, Player
from canari.simulation.world import World

_BLOCK = 1000  # rollouts that are played together: their numbers fit into the processor's cache

Made = Callable[[World, int], Player]


@dataclass(frozen=True)
class Played:
    """How each rollout ended, shape (rollouts,).

    `verdict` is HOLD where it never did; `look` is when the verdict came (from 1; 0: never); `harmed` are the bad
    answers that the canary gave beyond what stable would have given, until the simulated time was over.
    """

    world: World
    verdict: NDArray[np.int8]
    look: NDArray[np.int64]
    harmed: NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """A rule in a world, summed up. Shares from 0 to 1, each with its simulation's standard error; times in seconds.

    `false_rollback` is told where no metric is worse by more than its margin, `false_promotion` where a required one
    is by at least that; None elsewhere. `detection` are the median and the 90 % quantile of the time to a roll back
    where the canary harms, None where fewer rollouts were ever rolled back.
    """

    rule: str
    rollouts: int
    rolled_back: float
    promoted: float
    open: float
    rolled_back_error: float
    promoted_error: float
    false_rollback: float | None
    false_promotion: float | None
    detection_median: float | None
    detection_90: float | None
    promotion_median: float | None
    users_harmed: float

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def play(world: World, made: Made, rollouts: int, seed: int = 1) -> Played:
    """Play a rule in a world; the same seed gives the same rollouts."""
    streams = np.random.SeedSequence(seed).spawn(math.ceil(rollouts / _BLOCK))
    sizes = [min(_BLOCK, rollouts - i * _BLOCK) for i in range(len(streams))]
    blocks = [
        _block(world, made(world, size), Draws(world, size, np.random.default_rng(stream)))
        for size, stream in zip(sizes, streams, strict=True)
    ]
    return Played(world, *(np.concatenate([block[i] for block in blocks]) for i in range(3)))


def _block(
    world: World, player: Player, draws: Draws
) -> tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.float64]]:
    rollouts = draws.rollouts
    weights, step = np.array(world.steps) / 100, np.zeros(rollouts, np.int64)
    verdict, ended = np.zeros(rollouts, np.int8), np.zeros(rollouts, np.int64)
    began, harmed = np.zeros(rollouts), np.zeros(rollouts)
    gap = sum(max(metric.canary - metric.stable, 0) for metric in world.metrics.values())
    seconds = world.look.total_seconds()
    for look in range(world.looks):
        running = ended == 0
        if not running.any():
            break
        seen = draws.next(weights[step], running)
        harmed += gap * seen.requests[1]
        now = (look + 1) * seconds
        found = player.look(seen, Moment(look, now - began, now, step == len(weights) - 1))
        ends = running & (found >= Verdict.PROMOTE)
        verdict[ends], ended[ends] = found[ends], look + 1
        advances = running & (found == Verdict.ADVANCE)
        if advances.any():
            step[advances] += 1
            began[advances] = now
            player.advanced(advances)
    promoted = verdict == Verdict.PROMOTE
    harmed += promoted * gap * world.requests * (world.looks - ended)
    return verdict, ended, harmed


def summed(played: Played, rule: str) -> Figures:
    """The figures of what was played."""
    world, n = played.world, played.verdict.size
    back, promoted = (played.verdict == verdict for verdict in (Verdict.ROLL_BACK, Verdict.PROMOTE))
    shares = float(back.mean()), float(promoted.mean())
    times = np.asarray(played.look * world.look.total_seconds(), np.float64)
    return Figures(
        rule=rule,
        rollouts=n,
        rolled_back=shares[0],
        promoted=shares[1],
        open=1 - sum(shares),
        rolled_back_error=_error(shares[0], n),
        promoted_error=_error(shares[1], n),
        false_rollback=None if world.harms else shares[0],
        false_promotion=shares[1] if world.worse else None,
        detection_median=_reached(times, back, 0.5) if world.harms else None,
        detection_90=_reached(times, back, 0.9) if world.harms else None,
        promotion_median=_reached(times, promoted, 0.5),
        users_harmed=float(played.harmed.mean()),
    )


def _reached(times: NDArray[np.float64], where: NDArray[np.bool_], share: float) -> float | None:
    """The time by which this share of all rollouts has got there."""
    place = math.ceil(share * times.size) - 1
    got = np.sort(times[where])
    return float(got[place]) if place < got.size else None


def _error(share: float, n: int) -> float:
    """The standard error of a share of n; with none or all, what one more would make."""
    inside = min(max(share, 1 / n), 1 - 1 / n) if n > 1 else 0.5
    return math.sqrt(inside * (1 - inside) / n)
