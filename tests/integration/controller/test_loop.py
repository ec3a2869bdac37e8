"""The reconcile loop over a real database, with a launcher and a gateway that only remember what they were told."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from sqlalchemy import text

from canari.errors import CanariError
from canari.launch.launcher import State, VersionRun
from canari.observations import Counters
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import rollouts, versions
from canari.types import Arm, Split
from services.controller.families import WatchedFamilies
from services.controller.loop import Reconciler
from tests.conftest import ROOT, Database

SPEC = load_spec(ROOT / "bentos" / "drift")


class FakeLauncher:
    def __init__(self) -> None:
        self.states: dict[tuple[str, int], State] = {}
        self.broken: set[int] = set()
        self.stopped: list[tuple[str, int]] = []

    def ensure(self, run: VersionRun) -> State:
        if run.number in self.broken:
            raise CanariError("the archive is damaged")
        return self.states.setdefault((run.spec.name, run.number), State.STARTING)

    def running(self) -> set[tuple[str, int]]:
        return set(self.states)

    def stop(self, versions: Collection[tuple[str, int]]) -> None:
        for version in versions:
            del self.states[version]
            self.stopped.append(version)

    def all_ready(self) -> None:
        self.states = dict.fromkeys(self.states, State.READY)


class FakeTraffic:
    settle_seconds = 0.0

    def __init__(self) -> None:
        self.splits: dict[str, Split] = {}
        self.busy: set[int] = set()

    def apply(self, splits: Collection[Split]) -> bool:
        self.splits = {split.model: split for split in splits}
        return True

    def in_force(self, model: str) -> bool:
        return model in self.splits

    def unused(self, model: str, version: int) -> bool:
        del model
        return version not in self.busy

    def counters(self) -> Counters:
        return {}

    def arms(self, split: Split) -> dict[str, Arm]:
        return {f"arm/{split.model}/{share.arm.version}": share.arm for share in split.shares}

    def weights(self) -> dict[int, int]:
        return {share.arm.version: share.weight for share in self.splits["drift"].shares}


class World:
    def __init__(self, database: Database) -> None:
        self.engine = database.engine
        self.launcher = FakeLauncher()
        self.traffic = FakeTraffic()
        self.reconciler = self.controller()
        self.reconciler.register([SPEC])

    def controller(self) -> Reconciler:
        return Reconciler(self.engine, self.launcher, self.traffic)

    def version(self) -> int:
        number = versions.allot(self.engine, SPEC, manifest_digest=None, synthetic=True)
        versions.mark_ready(self.engine, "drift", number, archive=f"{number:064d}", metrics={})
        return number

    def deploy(self, number: int, weight: int) -> None:
        rollouts.deploy(self.engine, "drift", number, weight=weight, actor="a test")

    def settle(self) -> None:
        for _ in range(3):
            self.reconciler.tick()
            self.launcher.all_ready()
        self.reconciler.tick()


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def test_a_platform_without_versions_waits(world: World) -> None:
    (seen,) = world.reconciler.tick()
    assert (seen.stable, seen.rollout, seen.states) == (None, None, {})
    assert world.traffic.weights() == {}


def test_the_first_ready_version_takes_all_by_itself(world: World) -> None:
    world.version()
    world.settle()
    assert world.traffic.weights() == {1: 100}
    assert rollouts.history(world.engine, "drift")[-1]["action"] == "bootstrap"


def test_a_canary_gets_its_weight_once_it_answers(world: World) -> None:
    world.version()
    world.settle()
    world.deploy(world.version(), 20)
    world.reconciler.tick()
    assert world.traffic.weights() == {1: 100}
    world.settle()
    assert world.traffic.weights() == {1: 80, 2: 20}


def test_stable_goes_on_until_a_promoted_version_answers_and_leaves_once_unused(world: World) -> None:
    world.version()
    world.settle()
    world.deploy(world.version(), 100)
    world.reconciler.tick()
    assert world.traffic.weights() == {1: 100}
    assert world.launcher.stopped == []
    world.traffic.busy = {1}
    world.settle()
    assert world.traffic.weights() == {2: 100}
    assert world.launcher.stopped == []
    world.traffic.busy = set()
    world.reconciler.tick()
    assert world.launcher.stopped == [("drift", 1)]


def test_a_new_controller_keeps_traffic_where_it_can_be_answered(world: World) -> None:
    world.version()
    world.settle()
    world.deploy(world.version(), 100)
    second = world.controller()
    second.tick()
    assert world.traffic.weights() == {1: 100}
    world.launcher.all_ready()
    second.tick()
    assert world.traffic.weights() == {2: 100}


def test_a_dead_arm_loses_its_weight_at_once_and_gets_it_back(world: World) -> None:
    world.version()
    world.settle()
    world.deploy(world.version(), 20)
    world.settle()
    world.launcher.states["drift", 2] = State.BACKOFF
    world.reconciler.tick()
    assert world.traffic.weights() == {1: 100}
    world.launcher.all_ready()
    world.reconciler.tick()
    assert world.traffic.weights() == {1: 80, 2: 20}


def test_a_version_that_cannot_start_is_told_and_harms_no_other(world: World) -> None:
    world.version()
    world.settle()
    world.launcher.broken = {2}
    world.deploy(world.version(), 50)
    (seen,) = world.reconciler.tick()
    assert seen.trouble == "the archive is damaged"
    assert world.traffic.weights() == {1: 100}


def test_a_rolled_back_canary_is_stopped(world: World) -> None:
    world.version()
    world.settle()
    world.deploy(world.version(), 50)
    world.settle()
    rollouts.roll_back(world.engine, "drift", reason="it is worse", actor="a test")
    world.settle()
    assert world.traffic.weights() == {1: 100}
    assert world.launcher.stopped == [("drift", 2)]


def test_a_version_that_is_no_longer_wanted_is_left_alone_once_what_is_wanted_answers(world: World) -> None:
    world.version()
    world.settle()
    world.deploy(world.version(), 100)
    world.settle()
    world.launcher.states["drift", 1] = State.STARTING
    world.traffic.busy = {1}
    (seen,) = world.controller().tick()
    assert seen.states == {2: State.READY}


def test_a_judged_rollout_is_mirrored_split_and_promoted_with_the_version_of_before_kept(world: World) -> None:
    canary = {"steps": ["shadow", 20], "keep_previous": "1h", "holdback": 10}
    world.version()
    second = world.version()
    world.reconciler.register([ModelSpec.model_validate({**SPEC.document(), "canary": canary})])
    world.settle()
    opened = rollouts.propose(world.engine, "drift", second, actor="ana", reason="better")
    world.settle()
    assert (world.traffic.weights(), world.traffic.splits["drift"].mirror) == ({1: 100}, 2)
    rollouts.advance(world.engine, opened.id, 1, actor="controller", reason="they agree")
    world.settle()
    assert (world.traffic.weights(), world.traffic.splits["drift"].mirror) == ({1: 80, 2: 20}, None)
    rollouts.promote(world.engine, "drift", actor="controller", reason="no worse", rollout=opened.id)
    world.settle()
    assert world.traffic.weights() == {2: 90, 1: 10}
    assert world.launcher.stopped == []
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE rollouts SET settled_at = settled_at - interval '1 hour'"))
    world.settle()
    assert world.traffic.weights() == {2: 100}
    assert world.launcher.stopped == [("drift", 1)]


def test_a_model_that_is_not_to_run_is_stopped(world: World) -> None:
    world.version()
    world.settle()
    assert world.reconciler.tick([]) == []
    assert world.launcher.stopped == [("drift", 1)]
    world.settle()
    assert world.traffic.weights() == {1: 100}


def test_a_changed_specification_becomes_live(world: World) -> None:
    changed = SPEC.model_copy(update={"labels": ("under", "over"), "label_titles": {}})
    world.reconciler.register([changed])
    assert versions.live_specs(world.engine)["drift"] == changed


def test_a_specification_broken_while_the_platform_runs_leaves_the_last_good_one(tmp_path: Path) -> None:
    file = tmp_path / "drift" / "model.yaml"
    file.parent.mkdir()
    file.write_text("name: [")
    with pytest.raises(CanariError):
        WatchedFamilies(tmp_path).current()
    good = (ROOT / "bentos" / "drift" / "model.yaml").read_text()
    file.write_text(good)
    watched = WatchedFamilies(tmp_path)
    assert [family.name for family in watched.current()] == ["drift"]
    file.write_text("name: drift")
    assert watched.current()[0].spec == SPEC
    file.write_text(good.replace("[below, above]", "[below, above, beside]"))
    assert watched.current()[0].spec.labels == ("below", "above", "beside")
