"""The chart as Helm renders it, as plain dictionaries. Needs `helm` on the path, and no cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from canari.launch.cluster_config import ClusterConfig
from canari.launch.launcher import VersionRun
from canari.launch.manifests import Release, version_manifests
from canari.spec import ModelSpec
from tests.conftest import ROOT

CHART = ROOT / "helm" / "canari"
SETS = Path(__file__).parent / "values"
# The oldest that is supported: what it accepts, later ones do.
KUBERNETES = "1.30.0"
Manifest = dict[str, Any]

# What a user may choose between: each name, and the values files that make the choice.
CHOICES: dict[str, tuple[Path, ...]] = {
    "default": (),
    "minikube": (CHART / "values-minikube.yaml",),
    "test cluster": (ROOT / "tests" / "cluster" / "values.yaml",),
    **{file.stem.replace("-", " "): (file,) for file in sorted(SETS.glob("*.yaml"))},
}


def helm(*arguments: str) -> str:
    """Helm's output; raises CalledProcessError, whose `stderr` says what was wrong."""
    command = ("helm", *arguments, f"--kube-version={KUBERNETES}")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@lru_cache(maxsize=32)
def text(choice: str = "default", *options: str) -> str:
    """The manifests of a choice, hooks and tests included, as YAML."""
    files = [f"--values={file}" for file in CHOICES[choice]]
    return helm("template", "canari", str(CHART), "--namespace=canari", *files, *options)


def manifests(choice: str = "default", *options: str) -> list[Manifest]:
    """The manifests of a choice."""
    # libyaml's loader is as safe as the other, and ten times as quick.
    return [document for document in yaml.load_all(text(choice, *options), yaml.CSafeLoader) if document]


def named(found: list[Manifest], kind: str, name: str) -> Manifest:
    """The one manifest of this kind and name."""
    [manifest] = [m for m in found if m["kind"] == kind and m["metadata"]["name"] == name]
    return manifest


def pods(found: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod or pod template, with `Kind name` to call it by."""
    for manifest in found:
        kind, spec = manifest["kind"], manifest.get("spec", {})
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if kind == "Pod":
            yield f"Pod {manifest['metadata']['name']}", manifest
        elif "template" in spec:
            yield f"{kind} {manifest['metadata']['name']}", spec["template"]


def version_s_pod(choice: str) -> Manifest:
    """The pod that the controller makes of a version, configured as this choice configures the controller."""
    configured = named(manifests(choice), "ConfigMap", "canari-controller")["data"]["cluster.yaml"]
    config = ClusterConfig.model_validate(yaml.safe_load(configured))
    spec = ModelSpec.model_validate(yaml.safe_load((ROOT / "bentos" / "drift" / "model.yaml").read_text()))
    run = VersionRun(spec, 1, "0" * 64)
    made = version_manifests(Release(config, "key"), run, {}, datetime.now(UTC))
    pod: Manifest = made[-1]["spec"]["template"]
    return pod


def containers(pod: Manifest) -> list[Manifest]:
    """A pod's containers, those that run first included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
