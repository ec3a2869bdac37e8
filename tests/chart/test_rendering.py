"""What Helm makes of the chart is what Kubernetes accepts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from tests.chart.definitions import FOLDER, schemas, standalone
from tests.chart.rendering import CHART, CHOICES, KUBERNETES, helm, manifests, named, text
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def schema_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON Schemas of what the chart renders: Kubernetes' own kinds, those of other projects, and ours."""
    folder = tmp_path_factory.mktemp("schemas")
    bundled = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    definitions = json.loads((bundled / "_definitions.json").read_text())["$defs"]
    for kind, version in {(m["kind"], m["apiVersion"]) for choice in CHOICES for m in manifests(choice)}:
        group, _, number = version.rpartition("/")
        name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part) + ".json"
        if (bundled / name).is_file():
            schema = standalone(json.loads((bundled / name).read_text()), definitions)
            (folder / name).write_text(json.dumps(schema))
    for kept in FOLDER.glob("*.json"):
        shutil.copy(kept, folder)
    for name, schema in schemas(yaml.safe_load((CHART / "files" / "models.canari.dev.yaml").read_text())):
        (folder / name).write_text(json.dumps(schema))
    return folder


def conforms(manifest: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["kubeconform", "-strict", "-summary", "-schema-location"]
    location = f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    return subprocess.run([*command, location], input=manifest, capture_output=True, text=True, check=False)


def test_lint_finds_nothing() -> None:
    said = helm("lint", "--strict", str(CHART))
    assert "0 chart(s) failed" in said


@pytest.mark.parametrize("choice", CHOICES)
def test_every_manifest_conforms_to_its_schema(choice: str, schema_folder: Path) -> None:
    options = ("--api-versions=gateway.envoyproxy.io/v1alpha1",)
    done = conforms(text(choice, *options), schema_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Skipped: 0" in done.stdout


def test_a_misspelt_field_does_not_conform(schema_folder: Path) -> None:
    for right, wrong in (("enableServiceLinks", "enableServiceLink"), ("gatewayClassName", "gatewayClass")):
        done = conforms(text().replace(right, wrong), schema_folder)
        assert done.returncode == 1
        assert wrong in done.stdout


@pytest.mark.parametrize("choice", CHOICES)
def test_no_environment_variable_is_there_twice(choice: str) -> None:
    for line in manifests(choice):
        for container in _containers(line):
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(names) == len(set(names)), (line["metadata"]["name"], names)


def _containers(node: object) -> list[dict[str, list[dict[str, str]]]]:
    if isinstance(node, list):
        return [found for part in node for found in _containers(part)]
    if not isinstance(node, dict):
        return []
    found = [part for key in ("containers", "initContainers") for part in node.get(key, [])]
    return found + [inner for part in node.values() for inner in _containers(part)]


def test_a_user_s_variable_replaces_the_chart_s() -> None:
    deployment = named(manifests("everything"), "Deployment", "canari-feedback")
    environment = {v["name"]: v.get("value") for v in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["CANARI_LOG_LEVEL"] == "DEBUG"
    other = named(manifests("everything"), "Deployment", "canari-portal")
    environment = {v["name"]: v.get("value") for v in other["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (environment["CANARI_LOG_LEVEL"], environment["HTTPS_PROXY"]) == ("INFO", "http://proxy.example:3128")


def test_labels_that_a_claim_was_made_with_never_change() -> None:
    statefulset = named(manifests("everything"), "StatefulSet", "canari-postgres")
    [claim] = statefulset["spec"]["volumeClaimTemplates"]
    assert set(claim["metadata"]["labels"]) == {f"app.kubernetes.io/{x}" for x in ("name", "instance", "component")}


def test_what_is_kept_at_uninstall_says_so() -> None:
    kept = {
        f"{m['kind']} {m['metadata']['name']}"
        for m in manifests()
        if m["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {
        "CustomResourceDefinition models.canari.dev",
        "PersistentVolumeClaim canari-archives",
        "PersistentVolumeClaim canari-mlflow",
        "Secret canari-secrets",
    }


def test_a_secret_of_one_s_own_is_used_everywhere_and_none_is_made() -> None:
    rendered = text("database secret")
    assert "kind: Secret" not in rendered
    assert "canari-secrets" not in rendered


def test_the_controller_s_file_is_one_that_the_controller_reads(tmp_path: Path) -> None:
    from canari.launch.cluster_config import load_config

    for choice in ("default", "everything", "existing gateway"):
        file = tmp_path / "cluster.yaml"
        file.write_text(named(manifests(choice), "ConfigMap", "canari-controller")["data"]["cluster.yaml"])
        config = load_config(file)
        assert config.namespace == "canari"
    assert (config.gateway.name, config.gateway.namespace) == ("shared", "gateways")
    assert config.gateway.proxy_namespace == "proxies"


def test_policies_are_never_put_on_someone_else_s_gateway() -> None:
    assert "TrafficPolicy" not in text("existing gateway")
    assert "TrafficPolicy" in text("everything")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["postgres.enabled=false"], "there is no database"),
        (["externalDatabase.url=postgresql://db.example/canari"], "there are two databases"),
        (["postgres.enabled=false", "externalDatabase.url=postgresql://db.example/x"], "externalDatabase.lineageUrl"),
        (["gateway.create=false"], "name your Gateway"),
        (["ingress.enabled=true", "gateway.url=http://gateway.example"], "clear gateway.url"),
    ],
)
def test_values_that_do_not_fit_together_are_refused_with_what_to_do(options: list[str], said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helm("template", "canari", str(CHART), *(f"--set={option}" for option in options))
    assert said in refused.value.stderr


def test_what_is_generated_is_in_step_with_the_chart() -> None:
    done = subprocess.run(
        [sys.executable, "helm/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_s_version_is_the_project_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]
