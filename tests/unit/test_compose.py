"""compose.yaml and skaffold.yaml name only what exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from canari import __version__
from canari.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TARGETS = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SKAFFOLD = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
VALUES = yaml.safe_load((ROOT / "helm/canari/values.yaml").read_text())
[RELEASE] = SKAFFOLD["deploy"]["helm"]["releases"]
[DEV] = SKAFFOLD["profiles"]


def test_compose_builds_this_version_from_a_target_that_exists() -> None:
    canari = COMPOSE["services"]["canari"]
    assert canari["build"]["target"] in TARGETS
    assert canari["image"] == f"canari/{canari['build']['target']}:{__version__}"
    assert canari["build"]["args"] == {"VERSION": __version__}


def test_compose_tells_canari_only_settings_there_are() -> None:
    given = COMPOSE["services"]["canari"]["environment"]
    assert {name.removeprefix("CANARI_").lower() for name in given} <= Settings.model_fields.keys()
    postgres = COMPOSE["services"]["postgres"]["environment"]
    credentials = f"{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
    assert given["CANARI_DATABASE_URL"] == f"postgresql://{credentials}@postgres/{postgres['POSTGRES_DB']}"


def test_compose_publishes_one_port_to_this_machine_alone_and_keeps_what_must_be_kept() -> None:
    services = COMPOSE["services"]
    assert [port for service in services.values() for port in service.get("ports", [])] == [
        f"127.0.0.1:${{CANARI_PORT:-{Settings().port}}}:{Settings().port}"
    ]
    mounted = {volume.partition(":")[0] for service in services.values() for volume in service["volumes"]}
    assert mounted == COMPOSE["volumes"].keys()
    assert f"data:{services['canari']['environment']['CANARI_DATA_DIR']}" in services["canari"]["volumes"]


def test_compose_gives_canari_no_more_than_a_cluster_would() -> None:
    canari = COMPOSE["services"]["canari"]
    assert (canari["read_only"], canari["cap_drop"]) == (True, ["ALL"])
    assert canari["security_opt"] == ["no-new-privileges"]


def test_skaffold_builds_each_image_from_the_target_of_its_name() -> None:
    artifacts = {one["image"]: one["docker"]["target"] for one in SKAFFOLD["build"]["artifacts"]}
    assert artifacts == {f"canari/{target}": target for target in ("platform", "trainer", "runtime", "lineage")}
    assert set(artifacts.values()) <= TARGETS


def test_skaffold_deploys_the_chart_with_values_it_has() -> None:
    assert (ROOT / RELEASE["chartPath"] / "Chart.yaml").is_file()
    assert all((ROOT / file).is_file() for file in RELEASE["valuesFiles"])
    for path in RELEASE["setValueTemplates"]:
        found: Any = VALUES
        for key in path.split("."):
            found = found[key]
        assert isinstance(found, str)


def test_skaffold_gives_the_chart_every_image_it_builds() -> None:
    given = set(re.findall(r"IMAGE_(?:REPO|TAG)_canari_(\w+)", str(RELEASE["setValueTemplates"])))
    assert {f"canari/{name}" for name in given} == {one["image"] for one in SKAFFOLD["build"]["artifacts"]}


def test_skaffold_dev_copies_python_files_to_where_the_development_image_runs_them() -> None:
    target, sync = DEV["patches"]
    assert DEV["activation"] == [{"command": "dev"}]
    assert (target["path"], target["value"]) == ("/build/artifacts/0/docker/target", "development")
    assert SKAFFOLD["build"]["artifacts"][0]["image"] == "canari/platform"
    assert target["value"] in TARGETS
    assert sync["path"] == "/build/artifacts/0/sync"
    copied = {rule["src"]: rule["dest"] for rule in sync["value"]["manual"]}
    assert all(list(ROOT.glob(pattern)) for pattern in copied)
    [path] = re.findall(r"^ENV PYTHONPATH=(/tmp/\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied.values()) == {path}


@pytest.mark.parametrize("file", ["compose.yaml", "skaffold.yaml", "Dockerfile"])
def test_no_file_names_a_registry(file: str) -> None:
    images = re.findall(r"(?:image: |FROM |PYTHON_IMAGE=)(\S+)", (ROOT / file).read_text())
    assert images
    assert not [image for image in images if "." in image.partition("/")[0] and "/" in image]
