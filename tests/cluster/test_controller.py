"""The controller on a real cluster: real API server, real Gateway, real database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from canari.kube import ApiError, Kube, connect
from canari.launch.postgres import EmbeddedPostgres
from canari.objects import SECRET
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import rollouts
from services.controller.lease import Lease
from tests.cluster.tools import Kubectl, command, until
from tests.cluster.world import KilledError, World
from tests.conftest import ROOT, GivenPostgres, fresh_database

DRIFT = load_spec(ROOT / "bentos" / "drift")


@pytest.fixture(scope="module")
def world(namespace: Kubectl, postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[World]:
    with fresh_database(postgres) as database:
        # No pod is to run: none of these tests asks a version anything.
        yield World.make(namespace, database, image="canari/runtime:0.2.0", nodeSelector={"canari.dev/no-such": "node"})


def named(name: str, **changes: Any) -> ModelSpec:
    return DRIFT.model_copy(update={"name": name, **changes})


def objects_of(name: str, *numbers: int) -> list[str]:
    kinds = ("Deployment", "PodDisruptionBudget", "Secret", "Service")
    return sorted([f"HTTPRoute/{name}"] + [f"{kind}/{name}-v{number}" for kind in kinds for number in numbers])


def test_a_model_with_a_version_gets_all_that_belongs_to_it(world: World) -> None:
    spec = named("first_one")
    world.apply(spec)
    world.settle()
    assert world.condition("first_one", "VersionsReady")[:2] == ("False", "NoVersion")
    assert world.left("first_one") == ["HTTPRoute/first-one"]
    world.version(spec)
    world.settle()
    assert world.left("first_one") == objects_of("first-one", 1)
    status = world.status("first_one")
    assert (status["stable"], status["verdict"]) == (1, "promoted")
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Accepted": "True",
        "VersionsReady": "True",
        "TrafficSplit": "True",
        "Progressing": "False",
    }
    assert world.condition("first_one", "TrafficSplit")[2] == "100 % to version 1"
    reasons = {reason for reason, _ in world.events("first_one")}
    assert {"SpecAccepted", "Bootstrap", "Promoted", "VersionStarted", "VersionDegraded", "TrafficSplit"} <= reasons


def test_what_was_edited_by_hand_is_put_right(world: World) -> None:
    spec = named("edited")
    world.apply(spec)
    world.version(spec)
    world.settle()
    before = world.object("deployment", "edited-v1")["spec"]
    world.kubectl("set", "image", "deployment/edited-v1", "bento=somebody/elses:1")
    world.kubectl("scale", "deployment/edited-v1", "--replicas=0")
    world.kubectl("delete", "poddisruptionbudget", "edited-v1")
    world.kubectl("patch", "service", "edited-v1", "--patch", '{"spec": {"selector": {"canari.dev/version": "7"}}}')
    world.settle()
    assert world.object("deployment", "edited-v1")["spec"] == before
    assert world.object("service", "edited-v1")["spec"]["selector"]["canari.dev/version"] == "1"
    assert world.left("edited") == objects_of("edited", 1)


def test_replicas_follow_the_specification_and_replace_no_pod(world: World) -> None:
    spec = named("scaled")
    world.apply(spec)
    world.version(spec)
    world.settle()
    template = world.object("deployment", "scaled-v1")["spec"]["template"]

    def scale(**replicas: int) -> int:
        world.apply(spec, serving={"replicas": replicas})
        world.settle()
        deployment = world.object("deployment", "scaled-v1")["spec"]
        assert deployment["template"] == template
        return int(deployment["replicas"])

    assert scale(min=3, max=3) == 3
    assert scale(min=2, max=4) == 3
    autoscaler = world.object("horizontalpodautoscaler", "scaled-v1")["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 4)
    assert scale(min=1, max=1) == 1
    assert world.left("scaled") == objects_of("scaled", 1)


def test_a_specification_that_does_not_hold_is_told_and_the_last_good_one_stays(world: World) -> None:
    spec = named("broken")
    world.apply(spec)
    world.version(spec)
    world.settle()
    world.apply(spec, label_titles={"elsewhere": {"fr": "Ailleurs", "en": "Elsewhere"}})
    world.settle()
    status, reason, message = world.condition("broken", "Accepted")
    assert (status, reason) == ("False", "Invalid")
    assert "`label_titles` names 'elsewhere', which is not one of `labels`" in message
    assert world.condition("broken", "TrafficSplit")[0] == "True"
    world.apply(spec)
    world.settle()
    assert world.condition("broken", "Accepted")[0] == "True"


def test_each_decision_is_one_event_whoever_tells_it(world: World) -> None:
    spec = named("told")
    world.apply(spec)
    world.version(spec)
    world.settle()
    rollouts.deploy(world.database.engine, "told", world.version(spec), weight=20, actor="ana")
    world.settle()
    world.settle()
    decided = [(reason, note) for reason, note in world.events("told") if "of the traffic" in note]
    assert sorted(decided) == [
        ("Bootstrap", "version 1: 100 % of the traffic; by hand (controller)"),
        ("Promoted", "version 1: 100 % of the traffic; all traffic by hand (controller)"),
        ("RolloutStarted", "version 2: 20 % of the traffic; by hand (ana)"),
    ]
    status = world.status("told")
    assert (status["stable"], status["canary"], status["weight"], status["verdict"]) == (1, 2, 20, "start")


def test_a_judged_rollout_is_told_as_it_goes(world: World) -> None:
    engine = world.database.engine
    spec = named("judged")
    world.apply(spec)
    world.version(spec)
    world.settle()
    assert world.condition("judged", "Progressing")[:2] == ("False", "Promoted")
    rollouts.propose(engine, "judged", world.version(spec), actor="ana", reason="newer photos")
    world.settle()
    status, reason, judged = world.condition("judged", "Progressing")
    assert (status, reason, world.status("judged")["verdict"]) == ("True", "Judged", "hold")
    assert judged in world.kubectl("get", "model", "judged", "--output=wide")
    rollouts.pause(engine, "judged", actor="ana", reason="a holiday")
    world.settle()
    assert world.condition("judged", "Progressing") == (
        "False",
        "Paused",
        "version 2 neither advances nor is promoted until it is resumed: a holiday (ana)",
    )
    rollouts.roll_back(engine, "judged", actor="ana", reason="it is worse")
    world.settle()
    assert world.condition("judged", "Progressing") == ("False", "RolledBack", "version 2: it is worse (ana)")
    assert world.status("judged")["verdict"] == "rolled_back"
    reasons = [reason for reason, note in world.events("judged") if note.startswith("version 2: ")]
    assert {"RolloutStarted", "RolloutPaused", "RolledBack"} <= set(reasons)


def test_a_deleted_model_leaves_nothing(world: World) -> None:
    spec = named("deleted")
    world.apply(spec)
    world.version(spec)
    world.settle()
    world.kubectl("delete", "model", "deleted")
    world.settle()
    until(lambda: not world.left("deleted"), "nothing left", seconds=30)


def test_the_charts_role_is_enough_and_reads_no_secret(world: World) -> None:
    role = command(
        *("helm", "template", "canari", str(ROOT / "helm" / "canari"), "--namespace", world.namespace),
        *("--show-only", "templates/controller/role.yaml", "--show-only", "templates/controller/rolebinding.yaml"),
    )
    # The Role of the proxies' namespace is not needed here, and may be there already.
    mine = [part for part in yaml.safe_load_all(role) if part["metadata"]["namespace"] == world.namespace]
    world.kubectl.apply(*mine)
    client = connect()
    client.set_default_header("Impersonate-User", f"system:serviceaccount:{world.namespace}:canari-controller")
    spec = named("allowed")
    world.apply(spec, serving={"replicas": {"min": 1, "max": 2}})
    world.version(spec)
    world.settle(world.kube(client=client))
    rollouts.deploy(world.database.engine, "allowed", world.version(spec), weight=100, actor="a test")
    world.settle(world.kube(client=client))
    world.apply(spec)
    world.settle(world.kube(client=client))
    assert world.left("allowed") == objects_of("allowed", 2)
    rollouts.propose(world.database.engine, "allowed", world.version(spec), actor="a test", reason="newer")
    world.settle(world.kube(client=client))
    # It may list no pod of the proxies' namespace here: it says so, and goes on.
    assert world.condition("allowed", "Progressing")[2].startswith("no proxy of the gateway told its counts")
    kube = Kube(client, world.namespace)
    lease = Lease(kube, "canari-controller", "a-test")
    assert lease.try_hold()
    assert lease.try_hold()
    lease.release()
    for read in (lambda: kube.get(SECRET, "allowed-v2"), lambda: kube.list(SECRET)):
        with pytest.raises(ApiError, match="forbidden"):
            read()


def test_a_controller_killed_after_each_thing_it_writes_is_continued(world: World) -> None:
    """A model's whole life, once undisturbed, and once by controllers that die of whatever they are first to write."""
    engine = world.database.engine

    def live(name: str, *, deadly: bool) -> list[list[str]]:
        spec = named(name)
        left: list[list[str]] = []

        def settle() -> None:
            killers: set[str] | None = set() if deadly else None
            for _ in range(200):
                with contextlib.suppress(KilledError):
                    world.settle(world.kube(killers=killers))
                    break
            assert killers != set()
            left.append([line.replace(name, "it") for line in world.left(name)])

        world.apply(spec, serving={"replicas": {"min": 1, "max": 2}})
        first = world.version(spec)
        settle()
        second = world.version(spec)
        rollouts.deploy(engine, name, second, weight=20, actor="a test")
        settle()
        rollouts.deploy(engine, name, second, weight=100, actor="a test")
        settle()
        rollouts.deploy(engine, name, first, weight=50, actor="a test")
        settle()
        rollouts.roll_back(engine, name, reason="worse", actor="a test")
        settle()
        world.kubectl("delete", "model", name, "--cascade=orphan")
        settle()
        return left

    undisturbed = live("calm", deadly=False)
    assert [len(objects) for objects in undisturbed] == [6, 11, 6, 11, 6, 0]
    assert live("hard", deadly=True) == undisturbed
