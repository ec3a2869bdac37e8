"""Rollouts judged by the loop, over a real database; the gateway's counts and what answers are as each test says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import text

from canari.errors import CanariError
from canari.launch.launcher import State
from canari.observations import Counters, Counts
from canari.policy import Verdict
from canari.spec_canary import Canary
from canari.store import courses, rollout_views, rollouts, versions
from canari.types import RolloutState
from services.controller.loop import Observed, Reconciler
from tests.conftest import Database
from tests.integration.controller.test_loop import SPEC, FakeLauncher, FakeTraffic

RULES = {
    "steps": [20, 50],
    "bake": "0s",
    "progress": "1s",
    "metrics": {"errors": {"margin": 0.05}, "throttled": None, "latency": None, "satisfaction": None},
}


class CountingTraffic(FakeTraffic):
    """A gateway whose counts are as they are set; `away` while they cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[int, list[int]] = {1: [0, 0], 2: [0, 0]}
        self.away = False

    def serve(self, version: int, n: int, bad: int = 0) -> None:
        counted = self.counts[version]
        counted[0] += n
        counted[1] += bad

    def counters(self) -> Counters:
        if self.away:
            raise CanariError("403: pods is forbidden")
        return {
            "envoy": {
                f"arm/drift/{version}": Counts(completed=n, classes={2: n - bad, 5: bad})
                for version, (n, bad) in self.counts.items()
            }
        }


class Court:
    """A stable version 1, and a version 2 that is to be judged."""

    def __init__(self, database: Database, **rules: Any) -> None:
        self.engine = database.engine
        self.launcher = FakeLauncher()
        self.traffic = CountingTraffic()
        self.patience = 1.0  # seconds, as `progress` says
        self.loop = self.controller()
        spec = SPEC.model_copy(update={"canary": Canary.model_validate(RULES | rules)})
        self.loop.register([spec])
        for number in (1, 2):
            versions.allot(self.engine, spec, manifest_digest=None, synthetic=True)
            versions.mark_ready(self.engine, "drift", number, archive=f"{number:064d}", metrics={})
        rollouts.deploy(self.engine, "drift", 1, weight=100, actor="a test")
        self.ticks(3)
        self.rollout = rollouts.propose(self.engine, "drift", 2, actor="a test", reason="it is new").id
        self.ticks(5)

    def controller(self) -> Reconciler:
        return Reconciler(self.engine, self.launcher, self.traffic)

    def ticks(self, n: int = 1) -> Observed:
        for _ in range(n):
            (seen,) = self.loop.tick()
            self.launcher.all_ready()
        return seen

    def serve(self, *, times: int = 1, failing: float = 0.0, stable_failing: float = 0.0) -> Observed:
        """A hundred requests by the weights of the split, of which so many fail on each version; a tick; and again."""
        for _ in range(times):
            for version, weight in self.traffic.weights().items():
                self.traffic.serve(version, weight, round(weight * (failing if version == 2 else stable_failing)))
            (seen,) = self.loop.tick()
        return seen

    def decisions(self) -> list[str]:
        return [made.action for made in rollout_views.detail(self.engine, "drift", self.rollout).decisions]

    def reason(self) -> str:
        return rollout_views.detail(self.engine, "drift", self.rollout).decisions[-1].reason


@pytest.fixture
def court(database: Database) -> Iterator[Callable[..., Court]]:
    """Trials, each of which comes to the same when it is judged again from what was kept of it."""
    made: list[Court] = []

    def begin(**rules: Any) -> Court:
        made.append(Court(database, **rules))
        return made[-1]

    yield begin
    for one in made:
        again = courses.judge_again(one.engine, "drift", one.rollout)
        assert again.same, again.compared


def said(seen: Observed) -> str:
    assert seen.judgement is not None
    return seen.judgement.sentence


def test_a_version_that_is_no_worse_goes_step_by_step_and_is_promoted(court: Callable[..., Court]) -> None:
    trial = court()
    trial.serve(stable_failing=0.02, times=5)
    assert trial.traffic.weights() == {1: 50, 2: 50}
    trial.serve(failing=0.02, stable_failing=0.02, times=15)
    assert trial.traffic.weights() == {2: 100}
    assert trial.decisions() == ["start", "advance", "promoted"]
    assert "no worse than stable: errors (" in trial.reason()


def test_a_version_that_fails_is_rolled_back_and_the_reason_says_why(court: Callable[..., Court]) -> None:
    trial = court()
    trial.serve(failing=0.4, times=10)
    assert trial.traffic.weights() == {1: 100}
    assert trial.decisions() == ["start", "rolled_back"]
    assert "failed against 0 %, worse by more than 5 points" in trial.reason()


def test_silence_holds_and_says_what_is_missing(court: Callable[..., Court]) -> None:
    trial = court()
    seen = trial.ticks(5)
    assert said(seen) == "errors: 0 requests for the canary so far, 20 are the least that counts"
    assert trial.decisions() == ["start"]


def test_without_the_gateways_counts_nothing_goes_on_until_they_are_back(court: Callable[..., Court]) -> None:
    trial = court()
    trial.serve()
    trial.traffic.away = True
    seen = trial.serve(times=20)
    assert said(seen).startswith("no proxy of the gateway told its counts")
    assert trial.decisions() == ["start"]
    trial.traffic.away = False
    trial.serve()
    assert trial.decisions() == ["start", "advance"]


def test_a_version_that_stays_away_is_rolled_back_and_one_that_comes_back_is_not(court: Callable[..., Court]) -> None:
    trial = court(progress="2s")
    trial.launcher.states["drift", 2] = State.STARTING
    (seen,) = trial.loop.tick()
    assert trial.traffic.weights() == {1: 100}
    assert said(seen) == "version 2 does not answer, or not yet: it gets no traffic until it does"
    trial.launcher.all_ready()
    trial.serve()
    assert trial.traffic.weights() == {1: 80, 2: 20}
    while trial.decisions() == ["start"]:
        trial.launcher.states["drift", 2] = State.STARTING
        trial.loop.tick()
    assert "version 2 does not answer, or never for long" in trial.reason()
    assert trial.decisions() == ["start", "rolled_back"]


def test_nothing_is_held_against_a_version_while_stable_is_away(court: Callable[..., Court]) -> None:
    trial = court()
    ends = time.monotonic() + 1.5 * trial.patience
    while time.monotonic() < ends:
        trial.launcher.states = {("drift", 1): State.STARTING, ("drift", 2): State.STARTING}
        (seen,) = trial.loop.tick()
    assert said(seen).startswith("version 1 does not answer: there is nothing to compare")
    assert trial.decisions() == ["start"]


def test_a_new_controller_goes_on_exactly_where_the_old_one_ended(court: Callable[..., Court]) -> None:
    trial = court(metrics={"errors": {"margin": 0.005}})
    seen = trial.serve(times=10)
    trial.loop = trial.controller()
    again = trial.ticks(5)
    assert said(again) == said(seen)
    trial.serve(times=10)
    counted = rollout_views.detail(trial.engine, "drift", trial.rollout).evidence
    assert sum(total.n for total in counted if total.metric == "errors") == 20 * 100


def test_a_memory_that_is_lost_is_read_again_from_the_evidence(court: Callable[..., Court]) -> None:
    trial = court(metrics={"errors": {"margin": 0.005}})
    seen = trial.serve(times=10)
    with trial.engine.begin() as connection:
        connection.execute(text("DELETE FROM judge_state"))
    trial.loop = trial.controller()
    assert said(trial.ticks(5)) == said(seen)


def test_a_paused_rollout_stays_but_harm_ends_it(court: Callable[..., Court]) -> None:
    trial = court()
    rollouts.pause(trial.engine, "drift", reason="lunch", actor="a test")
    seen = trial.serve(times=20)
    assert said(seen).startswith("paused")
    trial.serve(failing=1.0, times=5)
    assert trial.decisions() == ["start", "pause", "rolled_back"]


def test_an_arm_that_gets_more_than_its_share_holds(court: Callable[..., Court]) -> None:
    trial = court(metrics={"errors": {"margin": 0.005}})
    for _ in range(20):
        trial.traffic.serve(2, 30)
        seen = trial.serve()
    assert "the canary got" in said(seen)
    assert trial.decisions() == ["start"]


def test_harm_after_the_promotion_brings_the_version_of_before_back(court: Callable[..., Court]) -> None:
    trial = court(holdback=10)
    trial.serve(times=20)
    assert trial.traffic.weights() == {2: 90, 1: 10}
    trial.serve(failing=0.3, times=10)
    assert trial.traffic.weights() == {1: 100}
    assert trial.decisions() == ["start", "advance", "promoted", "rolled_back"]
    assert rollout_views.rollout(trial.engine, trial.rollout).state is RolloutState.ROLLED_BACK


def test_why_a_version_was_promoted_can_be_read_for_as_long_as_nothing_follows(court: Callable[..., Court]) -> None:
    trial = court()
    trial.serve(times=20)
    with trial.engine.begin() as connection:
        connection.execute(text("UPDATE judge_state SET saved_at = now() - interval '1 hour'"))
    trial.loop = trial.controller()
    trial.serve(times=5)
    kept = rollout_views.detail(trial.engine, "drift", trial.rollout).judgement
    assert kept is not None
    assert kept["verdict"] == "promote"


def test_what_a_person_promoted_is_not_undone(court: Callable[..., Court]) -> None:
    trial = court(holdback=10)
    trial.serve()
    rollouts.promote(trial.engine, "drift", reason="I know better", actor="a test")
    trial.serve(failing=0.6, times=20)
    assert trial.decisions() == ["start", "promoted"]


def test_the_newest_judgement_is_kept_for_people(court: Callable[..., Court]) -> None:
    trial = court()
    trial.serve(failing=0.4, times=10)
    kept = rollout_views.detail(trial.engine, "drift", trial.rollout).judgement
    assert kept is not None
    assert kept["verdict"] == Verdict.ROLL_BACK.name.lower()
    assert kept["metrics"]["errors"]["canary_bad"] > 0


def test_a_decision_holds_the_figures_it_was_made_on(court: Callable[..., Court]) -> None:
    trial = court()
    trial.serve(times=5)
    made = rollout_views.detail(trial.engine, "drift", trial.rollout).decisions[-1]
    assert made.verdict is not None
    figures: Mapping[str, Any] = made.verdict["metrics"]["errors"]
    assert figures["stable_n"] == 4 * figures["canary_n"]
    assert made.evidence_tick is not None
    assert made.evidence_tick <= made.verdict["at"]
