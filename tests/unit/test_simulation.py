"""Simulated worlds are as described, the same seed plays the same rollouts, and rules do what their tools document."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError
from canari.policy import Rule, Standing, Verdict, decide
from canari.simulation.draws import Draws, Seen
from canari.simulation.play import play, summed
from canari.simulation.rules import RULES, ArgoRollouts, Canari, Flagger, Moment
from canari.simulation.world import World, load_world, world_of
from canari.spec_canary import Canary
from canari.stats import RARE, TwoRates
from tests.conftest import ROOT

ERRORS: dict[str, Any] = {"errors": {"stable": 0.001, "canary": 0.001, "margin": 0.005}}
LATE = {"right": "2m", "wrong": "10m", "age": "30m"}


def world(**changes: Any) -> World:
    return World.model_validate({"looks": 60, "metrics": ERRORS, **changes})


def counted(described: World, looks: int, rollouts: int = 400) -> list[Seen]:
    draws = Draws(described, rollouts, np.random.default_rng(1))
    share, running = np.full(rollouts, described.steps[0] / 100), np.ones(rollouts, np.bool_)
    return [draws.next(share, running) for _ in range(looks)]


def test_traffic_shares_and_rates_are_as_described() -> None:
    described = world(
        traffic="10/s",
        steps=[20],
        metrics={"m": {"stable": 0.1, "canary": 0.3, "margin": 0.05, "participation": {"stable": 0.5, "canary": 0.25}}},
    )
    seen = counted(described, 10)
    requests = np.stack([s.requests for s in seen]).mean(axis=(0, 2))
    assert requests == pytest.approx([480, 120], rel=0.02)
    n, bad, m, canary_bad = np.stack([s.outcomes["m"] for s in seen]).mean(axis=(0, 2))
    assert [n, bad / n, m, canary_bad / m] == pytest.approx([240, 0.1, 30, 0.3], rel=0.03)


def test_rates_drift_and_incidents_move_both_arms_together() -> None:
    described = world(
        metrics={"m": {"stable": 0.2, "canary": 0.3, "margin": 0.05}},
        drift={"by": -0.2},
        incident={"lasts": "10m", "extra": 0.3},
    )
    draws = Draws(described, 50, np.random.default_rng(2))
    gaps, extra = [], []
    for look in range(described.looks):
        stable, canary = draws.rates(described.metrics["m"])
        gaps.append(canary - stable)
        extra.append(stable - (0.2 - 0.2 * (look / 59 - 0.5)))
        draws.next(np.full(50, 0.05), np.ones(50, np.bool_))
    assert np.allclose(gaps, 0.1)
    incidents = (np.array(extra) > 0.2).sum(axis=0)
    assert incidents.max() == 10, "looks of incident, fewer where the simulated time ends within it"


def test_rates_never_leave_0_to_1() -> None:
    described = world(metrics={"m": {"stable": 0.9, "canary": 0.95, "margin": 0.05}}, drift={"by": 1.0})
    assert all((s.outcomes["m"][1] <= s.outcomes["m"][0]).all() for s in counted(described, 60, 20))


def test_seasons_swing_the_traffic() -> None:
    seen = counted(world(season={"period": "40m", "swing": 0.5}), 40)
    totals = [float(s.requests.sum()) for s in seen]
    assert totals[10] / totals[30] == pytest.approx(3, rel=0.05)


def test_late_labels_are_counted_by_cohort_at_one_age() -> None:
    described = world(traffic="100/m", metrics={"m": {"stable": 0.2, "canary": 0.2, "margin": 0.05, "labels": LATE}})
    seen = counted(described, 40)
    assert all(s.outcomes["m"].sum() == 0 for s in seen[:30])
    assert seen[30].outcomes["m"].sum() > 0
    n, bad = np.stack([s.outcomes["m"][:2] for s in seen[30:]]).sum(axis=(0, 2))
    share = 0.2 * (1 - np.exp(-3))
    assert bad / n == pytest.approx(share / (share + 0.8), abs=0.01)


def test_the_same_seed_plays_the_same_rollouts_and_another_does_not() -> None:
    first, again, other = (play(world(bake="10m"), Canari, 1200, seed) for seed in (1, 1, 2))
    assert (first.look == again.look).all()
    assert (first.look != other.look).any()


def test_the_rule_that_is_simulated_is_the_one_that_decides() -> None:
    described = world(bake="5m", metrics={"errors": {"stable": 0.001, "canary": 0.02, "margin": 0.005}})
    rng = np.random.default_rng(4)
    player, test = Canari(described, 1), TwoRates(0.005, RARE, prior=0.001)
    totals = np.zeros(4, np.int64)
    seen_verdicts = set()
    for look in range(40):
        counts = np.array([1000, rng.binomial(1000, 0.001), 50, rng.binomial(50, 0.02)])
        totals += counts
        test.update(*(int(count) for count in counts))
        now = 60.0 * (look + 1)
        many = player.look(
            Seen(counts[::2, None], {"errors": counts[:, None]}), Moment(look, np.array([now]), now, np.array([False]))
        )
        n, bad, m, canary_bad = (int(total) for total in totals)
        evidence = float(test.log_harm), float(test.log_no_worse)
        standing = Standing("errors", 0.005, n, bad, m, canary_bad, *evidence, minimum=20)
        one = decide(Rule(bake=300), [standing], step_seconds=now, open_seconds=now, last_step=False)
        assert Verdict(int(many[0])) is one.verdict
        seen_verdicts.add(one.verdict)
    assert seen_verdicts == {Verdict.HOLD, Verdict.ROLL_BACK}


def checked(rule: Any, bad: list[int | None], *, last: bool = True, **options: Any) -> list[Verdict]:
    """What a rule says over minutes of 100 requests to the canary, so many of them bad; None is a minute of silence."""
    player = rule(world(bake="1h", look="1m"), 1, **options)
    found = []
    for look, count in enumerate(bad):
        n = 0 if count is None else 100
        counts = np.array([[1900], [0], [n], [count or 0]])
        at = Moment(look, np.array([60.0 * (look + 1)]), 60.0 * (look + 1), np.array([last]))
        found.append(Verdict(int(player.look(Seen(counts[::2], {"errors": counts}), at)[0])))
    return found


def test_argo_rollouts_aborts_at_the_fourth_failed_measurement() -> None:
    assert checked(ArgoRollouts, [6, 0, 6, 5, 6, 0, 6])[-3:] == [Verdict.HOLD, Verdict.HOLD, Verdict.ROLL_BACK]
    assert checked(ArgoRollouts, [5] * 30)[-1] is Verdict.HOLD
    assert checked(ArgoRollouts, [None] * 5)[-2:] == [Verdict.HOLD, Verdict.ROLL_BACK]
    assert checked(ArgoRollouts, [*[None] * 4, 0, *[None] * 4])[-1] is Verdict.HOLD
    assert checked(ArgoRollouts, [0] * 60)[-2:] == [Verdict.HOLD, Verdict.PROMOTE]


def test_flagger_rolls_back_at_the_fifth_failed_check_however_many_are_good() -> None:
    assert checked(Flagger, [2, 0, 2, 0, 2, 0, 2, 0, 2])[-2:] == [Verdict.HOLD, Verdict.ROLL_BACK]
    assert checked(Flagger, [1] * 40)[-1] is Verdict.HOLD
    assert checked(Flagger, [None] * 5)[-1] is Verdict.ROLL_BACK
    assert checked(Flagger, [2, *[0] * 60], last=False)[-2:] == [Verdict.HOLD, Verdict.ADVANCE]


def test_figures_tell_what_is_false_by_what_the_world_is() -> None:
    good = summed(play(world(bake="5m", looks=120), Canari, 300), "canari")
    assert good.false_rollback is not None
    assert good.false_rollback <= 0.02
    assert (good.false_promotion, good.detection_median, good.users_harmed) == (None, None, 0)
    assert good.promoted > 0.9
    bad = {"errors": {"stable": 0.001, "canary": 0.1, "margin": 0.005}}
    found = summed(play(world(bake="5m", metrics=bad), Canari, 300), "canari")
    assert (found.false_rollback, found.false_promotion, found.rolled_back) == (None, 0.0, 1.0)
    assert found.detection_median == 60
    assert found.detection_90 is not None
    assert found.users_harmed == pytest.approx(0.099 * 60, rel=0.6)
    promoted = summed(play(world(bake="1m", metrics=bad), lambda *_: _Promotes(), 50), "promotes")
    assert promoted.users_harmed == pytest.approx(0.099 * 1200 * 59, rel=0.01), "all of the time after the promotion"


class _Promotes:
    def look(self, seen: Seen, moment: Moment) -> Any:
        del moment
        return np.full(seen.requests.shape[1], Verdict.PROMOTE, np.int8)

    def advanced(self, where: Any) -> None:
        del where


def test_a_specification_s_canary_becomes_a_world() -> None:
    made = world_of(Canary(), name="cats_dogs", worse_by=2.0, looks=10)
    assert set(made.metrics) == {"errors", "latency", "satisfaction"}
    assert made.metrics["satisfaction"].canary == pytest.approx(0.25)
    assert (made.steps, made.looks, made.harms) == ((5, 25, 50), 10, True)
    nothing = Canary.model_validate({"metrics": {"errors": None, "latency": None, "satisfaction": None}})
    with pytest.raises(CanariError, match="judged on no metric"):
        world_of(nothing, name="x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metrics: {}", "metrics"),
        ("traffic: 20\nmetrics: {errors: {stable: 0.1, canary: 0.1, margin: 0.1}}", "traffic"),
        ("looks: 0\nmetrics: {errors: {stable: 2, canary: 0.1, margin: 0.1}}", r"metrics\.errors\.stable"),
        ("look: 0s\nmetrics: {errors: {stable: 0.1, canary: 0.1, margin: 0.1}}", "longer than nothing"),
        ("- 1", "mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_world_that_does_not_hold_is_told_with_its_field(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(text)
    with pytest.raises(CanariError, match=told):
        load_world(file)


@pytest.mark.parametrize("file", sorted((ROOT / "docs/worlds").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_worlds_of_the_documentation_hold(file: Path) -> None:
    assert load_world(file).metrics


def test_the_world_that_the_documentation_writes_out_holds(tmp_path: Path) -> None:
    text = (ROOT / "docs/reference/judgement.md").read_text(encoding="utf-8")
    written = tmp_path / "world.yaml"
    written.write_text(text.split("```yaml\n")[1].split("```")[0])
    assert load_world(written).metrics["accuracy"].labels is not None


def simulated(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["simulate", "--rollouts", "40", *arguments])


def test_the_command_plays_all_rules_and_draws(tmp_path: Path) -> None:
    picture = tmp_path / "failing.svg"
    done = simulated("--world", str(ROOT / "docs/worlds/failing.yaml"), "--picture", str(picture))
    assert done.exit_code == 0, done.output
    assert all(re.search(rf"^{rule} .*%", done.output, re.MULTILINE) for rule in RULES)
    assert picture.read_text().startswith("<?xml")
    again = tmp_path / "again.svg"
    simulated("--world", str(ROOT / "docs/worlds/failing.yaml"), "--picture", str(again))
    assert again.read_bytes() == picture.read_bytes()


def test_the_command_plays_a_model_s_canary_as_json() -> None:
    done = simulated("--model", "cats_dogs", "--rules", "canari", "--json")
    assert done.exit_code == 0, done.output
    good, bad = json.loads(done.output)
    assert good["rules"][0]["false_rollback"] <= 0.1
    assert (bad["rules"][0]["rule"], bad["rules"][0]["false_promotion"]) == ("canari", 0.0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a world"),
        (["--world", "a.yaml", "--model", "b"], "name a world"),
        (["--model", "cats_dogs", "--rules", "luck"], "the rules are: canari"),
        (["--model", "cats_dogs", "--picture", "x.svg"], "a picture shows one world"),
        (["--model", "cats_dogs", "--worse-by", "0", "--rules", "canari", "--picture", "x.txt"], "ends in one of"),
        (["--model", "cats_dogs", "--traffic", "much"], "traffic"),
    ],
)
def test_the_command_says_what_it_cannot_do(arguments: list[str], told: str) -> None:
    done = simulated(*arguments)
    assert isinstance(done.exception, CanariError)
    assert told in str(done.exception)


def test_time_between_looks_may_be_any() -> None:
    assert world(look="90s", traffic="20/m").requests == 30
    assert world(look=timedelta(days=1), traffic="20/d").requests == 20
