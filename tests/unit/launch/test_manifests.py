"""A version's manifests, against golden files; `CANARI_REWRITE_GOLDEN=1 pytest tests/unit/launch` writes them anew."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from canari.launch.cluster_config import ClusterConfig
from canari.launch.launcher import VersionRun
from canari.launch.manifests import Release, token_secret, version_manifests, whole_cpus
from canari.objects import Manifest
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from tests.conftest import ROOT

GOLDEN = Path(__file__).parent / "golden"
OWNER = {"apiVersion": "canari.dev/v1alpha1", "kind": "Model", "name": "cats-dogs", "uid": "0001", "controller": True}
EXPIRES = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
PLAIN = {
    "instance": "canari",
    "namespace": "models",
    "gateway": {"name": "canari", "namespace": "models"},
    "feedback": {"service": "canari-feedback"},
    "bento": {"image": "canari/runtime:0.2.0"},
}
EXTRAS = {
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "preStopSeconds": 5,
    "podLabels": {"team": "vision", "canari.dev/version": "not this"},
    "podAnnotations": {"example.org/scrape": "true"},
    "nodeSelector": {"pool": "models"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "extraEnv": [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://traces:4318"},
        {"name": "CANARI_LOG_LEVEL", "value": "DEBUG"},
    ],
    "priorityClassName": "serving",
}


def spec(**serving: Any) -> ModelSpec:
    document = load_spec(ROOT / "bentos" / "cats_dogs").document()
    return ModelSpec.model_validate({**document, "serving": {**document["serving"], **serving}})


def made(given: ModelSpec, **bento: Any) -> list[Manifest]:
    config = ClusterConfig.model_validate({**PLAIN, "bento": {**PLAIN["bento"], **bento}})  # type: ignore[dict-item]
    return version_manifests(Release(config, "a public key"), VersionRun(given, 3, "ab" * 32), OWNER, EXPIRES)


CASES = {
    "one-replica": made(spec()),
    "autoscaled": made(spec(replicas={"min": 2, "max": 6}, resources={"limits": {"cpu": "1500m", "memory": "2Gi"}})),
    "all-options": made(spec(replicas={"min": 3}, timeout="1500ms"), **EXTRAS),
}


def deployment(manifests: list[Manifest]) -> Any:
    return manifests[-1]["spec"]


def serving_env(manifests: list[Manifest]) -> dict[str, Any]:
    [container] = deployment(manifests)["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


@pytest.mark.parametrize("name", CASES)
def test_manifests_are_those_of_the_golden_file(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    text = yaml.safe_dump_all(CASES[name], sort_keys=False, allow_unicode=True, width=120)
    if os.environ.get("CANARI_REWRITE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_pods_satisfy_the_restricted_standard_and_are_bounded(name: str) -> None:
    pod = deployment(CASES[name])["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(set(volume) == {"name", "emptyDir"} and volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"])
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        for bounds in ("requests", "limits"):
            assert set(container["resources"][bounds]) == {"cpu", "memory"}
    [main] = pod["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= main.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_pod_has_time_to_be_forgotten_to_finish_and_to_flush(name: str) -> None:
    pod = deployment(CASES[name])["template"]["spec"]
    [main] = pod["containers"]
    slept = main["lifecycle"]["preStop"]["sleep"]["seconds"]
    drained = int(main["command"][main["command"].index("--grace") + 1])
    assert pod["terminationGracePeriodSeconds"] == slept + drained + 10


def test_to_scale_replaces_no_pod() -> None:
    one, three = made(spec()), made(spec(replicas={"min": 3}))
    assert deployment(one)["template"] == deployment(three)["template"]
    assert (deployment(one)["replicas"], deployment(three)["replicas"]) == (1, 3)


def test_what_a_running_version_follows_replaces_its_pods() -> None:
    assert deployment(made(spec()))["template"] != deployment(made(spec(timeout="20s")))["template"]
    live = json.loads(serving_env(made(spec()))["CANARI_SPEC"])
    assert set(live) == {"name", "access", "abstain", "serving", "data"}
    assert not {"replicas", "resources"} & live["serving"].keys()


def test_an_autoscaler_has_the_replicas_where_there_is_a_range() -> None:
    kinds = [manifest["kind"] for manifest in CASES["autoscaled"]]
    assert kinds == ["Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Deployment"]
    assert "replicas" not in deployment(CASES["autoscaled"])


def test_every_object_goes_with_the_model_and_is_found_by_its_labels() -> None:
    for manifest in CASES["autoscaled"]:
        metadata = manifest["metadata"]
        assert metadata["ownerReferences"] == [OWNER]
        assert metadata["name"] == "cats-dogs-v3"
        assert metadata["labels"]["canari.dev/model"] == "cats_dogs"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "canari-controller"


def test_pods_are_selected_by_labels_that_no_option_can_change() -> None:
    labels = deployment(CASES["all-options"])["template"]["metadata"]["labels"]
    assert labels.items() >= deployment(CASES["all-options"])["selector"]["matchLabels"].items()
    assert labels["team"] == "vision"


def test_a_variable_given_twice_is_written_once_and_the_operators_counts() -> None:
    [container] = deployment(CASES["all-options"])["template"]["spec"]["containers"]
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names))
    assert serving_env(CASES["all-options"])["CANARI_LOG_LEVEL"] == "DEBUG"


def test_the_token_is_in_a_secret_alone() -> None:
    config = ClusterConfig.model_validate(PLAIN)
    secret = token_secret(config, VersionRun(spec(), 3, "ab" * 32), OWNER, "the token")
    assert secret["stringData"] == {"token": "the token"}
    assert secret["metadata"]["ownerReferences"] == [OWNER]
    assert all("the token" not in json.dumps(manifest) for manifest in CASES["one-replica"])


@pytest.mark.parametrize(
    ("quantity", "cpus"), [("1", 1), ("2", 2), ("2000m", 2), ("4.0", 4), ("500m", None), ("1.5", None), ("0", None)]
)
def test_only_whole_cores_are_told(quantity: str, cpus: int | None) -> None:
    assert whole_cpus(quantity) == cpus
