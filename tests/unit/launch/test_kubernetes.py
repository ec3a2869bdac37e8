"""The launcher over an API server that only keeps what it is told; tests/cluster asks a real one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from canari.errors import CanariError
from canari.kube import ApiError
from canari.launch.cluster_config import ClusterConfig
from canari.launch.kubernetes import KubernetesLauncher
from canari.launch.launcher import State, VersionRun
from canari.objects import DEPLOYMENT, HPA, PDB, SECRET, SERVICE, Kind, Manifest
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from tests.conftest import ROOT

SPEC = load_spec(ROOT / "bentos" / "drift")
CONFIG = ClusterConfig.model_validate(
    {
        "instance": "canari",
        "namespace": "models",
        "gateway": {"name": "canari", "namespace": "models"},
        "feedback": {"service": "canari-feedback"},
        "bento": {"image": "canari/runtime:0.2.0"},
    }
)
OWNER = {"apiVersion": "canari.dev/v1alpha1", "kind": "Model", "name": "drift", "uid": "1"}


class FakeKube:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.written: list[str] = []
        self.refused: set[str] = set()

    def list(self, kind: Kind, **_: Any) -> list[Manifest]:
        assert kind != SECRET
        return [found for (name, _), found in self.objects.items() if name == kind.kind]

    def apply(self, manifest: Manifest) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind in self.refused:
            raise ApiError(f"{kind} {name}: admission says no", 403)
        self.written.append(f"apply {kind}")
        self.objects[kind, name] = {"status": {}, **self.objects.get((kind, name), {}), **manifest}
        return self.objects[kind, name]

    def delete(self, kind: Kind, name: str) -> None:
        self.written.append(f"delete {kind.kind}")
        self.objects.pop((kind.kind, name), None)


class World:
    def __init__(self) -> None:
        self.kube = FakeKube()
        self.lifetime = timedelta(days=365)
        self.told: list[str] = []
        self.tokens = 0
        self.launcher = self.controller()

    def controller(self, public_key: str = "a key", owner: Manifest | None = OWNER) -> KubernetesLauncher:
        return KubernetesLauncher(
            self.kube,  # type: ignore[arg-type]
            CONFIG,
            owner=lambda _: owner,
            public_key=public_key,
            token=self._token,
            tell=lambda _model, reason, _note: self.told.append(reason),
        )

    def _token(self, model: str, number: int) -> tuple[str, datetime]:
        self.tokens += 1
        return f"token {self.tokens} of {model} {number}", datetime.now(UTC) + self.lifetime

    def ensure(self, spec: ModelSpec = SPEC, number: int = 1) -> State:
        self.kube.written.clear()
        self.launcher.observe()
        return self.launcher.ensure(VersionRun(spec, number, "ab" * 32))

    @property
    def deployment(self) -> Any:
        return self.kube.objects["Deployment", "drift-v1"]

    def answers(self, *, ready: bool = True) -> None:
        """A pod is ready, and the version's Service leads to it where `ready`."""
        self.deployment["status"] = {"readyReplicas": 1}
        self.kube.objects["EndpointSlice", "drift-v1-x"] = {
            "metadata": {"name": "drift-v1-x", "labels": CONFIG.labels("drift", 1)},
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
        }

    def pod(self, *containers: Any) -> None:
        labels = CONFIG.labels("drift", 1)
        self.kube.objects["Pod", "drift-v1-x"] = {
            "metadata": {"name": "drift-v1-x", "labels": labels},
            "status": {"containerStatuses": [{"name": "bento", "image": "i", **c} for c in containers]},
        }


@pytest.fixture
def world() -> World:
    return World()


def scaled(**replicas: int) -> ModelSpec:
    return ModelSpec.model_validate(
        {**SPEC.document(), "serving": {**SPEC.document()["serving"], "replicas": replicas}}
    )


def test_the_first_thing_made_is_listed_and_the_secret_comes_before_who_reads_it(world: World) -> None:
    assert world.ensure() is State.STARTING
    assert world.kube.written == ["apply Service", "apply PodDisruptionBudget", "apply Secret", "apply Deployment"]
    assert world.told == ["VersionStarted"]
    assert world.kube.objects["Secret", "drift-v1"]["stringData"] == {"token": "token 1 of drift 1"}


def test_an_unchanged_version_is_not_written_again_not_even_by_a_new_controller(world: World) -> None:
    world.ensure()
    assert world.ensure() is State.STARTING
    assert world.kube.written == []
    world.launcher = world.controller()
    world.ensure()
    assert world.kube.written == []
    assert world.tokens == 1


def test_a_version_is_ready_with_one_pod_that_answers(world: World) -> None:
    world.ensure()
    world.answers()
    assert world.ensure() is State.READY
    world.pod({"state": {"waiting": {"reason": "CrashLoopBackOff"}}})
    assert world.ensure() is State.READY
    world.deployment["status"] = {}
    assert world.ensure() is State.BACKOFF
    assert world.launcher.trouble("drift", 1) == "pod drift-v1-x, bento: CrashLoopBackOff"


def test_a_pod_that_its_service_does_not_lead_to_yet_gets_no_traffic(world: World) -> None:
    world.ensure()
    world.answers(ready=False)
    assert world.ensure() is State.STARTING
    del world.kube.objects["EndpointSlice", "drift-v1-x"]
    assert world.ensure() is State.STARTING
    world.answers()
    assert world.ensure() is State.READY


def test_pods_that_may_not_be_made_are_told(world: World) -> None:
    world.ensure()
    refusal = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    world.deployment["status"] = {"conditions": [refusal]}
    assert world.ensure() is State.STARTING
    assert world.launcher.trouble("drift", 1) == "exceeded quota"


def test_a_change_that_is_refused_takes_nothing_from_what_runs(world: World) -> None:
    world.ensure()
    world.answers()
    world.kube.refused = {"Deployment"}
    assert world.ensure(scaled(min=2, max=2)) is State.READY
    assert world.launcher.trouble("drift", 1) == "Deployment drift-v1: admission says no"
    world.kube.refused = set()
    assert world.ensure(scaled(min=2, max=2)) is State.READY
    assert world.launcher.trouble("drift", 1) is None
    assert world.told == ["VersionStarted", "VersionChanged"]


def test_a_version_that_cannot_be_made_is_an_error(world: World) -> None:
    world.kube.refused = {"Deployment"}
    with pytest.raises(CanariError, match="admission says no"):
        world.ensure()
    world.launcher = world.controller(owner=None)
    with pytest.raises(CanariError, match="no Model resource of drift"):
        world.ensure()


def test_a_token_is_renewed_before_it_ends_and_the_pods_with_it(world: World) -> None:
    world.lifetime = timedelta(days=31)
    world.ensure()
    world.ensure()
    assert world.tokens == 1
    noted = world.deployment["spec"]["template"]["metadata"]["annotations"]
    noted["canari.dev/token-expires"] = (datetime.now(UTC) + timedelta(days=29)).strftime("%Y-%m-%dT%H:%M:%SZ")
    world.ensure()
    assert world.kube.written == ["apply Secret", "apply Deployment"]
    assert world.tokens == 2


def test_another_signing_key_asks_for_another_token(world: World) -> None:
    world.ensure()
    world.launcher = world.controller(public_key="another key")
    world.ensure()
    assert world.kube.written == ["apply Secret", "apply Deployment"]


def test_a_secret_that_pods_miss_is_made_anew_and_no_pod_is_replaced(world: World) -> None:
    world.ensure()
    world.pod(
        {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "drift-v1" not found'}}}
    )
    world.ensure()
    assert world.kube.written == ["apply Secret"]


def test_an_autoscaler_keeps_the_replicas_it_chose(world: World) -> None:
    world.ensure(scaled(min=2, max=6))
    assert world.deployment["spec"]["replicas"] == 2
    world.deployment["spec"]["replicas"] = 5
    world.ensure(scaled(min=2, max=6))
    assert world.kube.written == []
    world.ensure(scaled(min=2, max=4))
    assert world.kube.objects["HorizontalPodAutoscaler", "drift-v1"]["spec"]["maxReplicas"] == 4
    world.ensure(scaled(min=3, max=3))
    assert world.deployment["spec"]["replicas"] == 3
    assert ("HorizontalPodAutoscaler", "drift-v1") not in world.kube.objects


def test_a_version_is_stopped_from_its_secret_to_its_deployment(world: World) -> None:
    world.ensure(scaled(min=1, max=2))
    world.launcher.observe()
    assert world.launcher.running() == {("drift", 1)}
    world.kube.written.clear()
    world.launcher.stop([("drift", 1)])
    assert world.kube.written == [f"delete {kind.kind}" for kind in (SECRET, HPA, PDB, SERVICE, DEPLOYMENT)]
    assert world.kube.objects == {}
    assert world.launcher.running() == set()
    assert world.told[-1] == "VersionStopped"


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "Deployment"])
def test_a_version_of_which_anything_is_left_is_found(world: World, kind: str) -> None:
    world.ensure()
    world.kube.objects = {key: found for key, found in world.kube.objects.items() if key[0] == kind}
    world.launcher = world.controller()
    world.launcher.observe()
    assert world.launcher.running() == {("drift", 1)}
    world.launcher.stop([("drift", 1)])
    assert world.kube.objects == {}


def test_objects_that_are_no_versions_are_left_alone(world: World) -> None:
    world.kube.objects["Service", "mine"] = {"kind": "Service", "metadata": {"name": "mine", "labels": {}}}
    world.launcher.observe()
    assert world.launcher.running() == set()
