"""Packages are made with no database and no platform."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from canari.archive import unpack
from canari.family import find_family
from canari.packages import find_packages
from tests.conftest import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CANARI_")}
    command = [sys.executable, "-m", "services.jobs", "pack", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_package_holds_what_a_platform_needs_to_take_a_version_in(tmp_path: Path) -> None:
    done = run("drift", "--demo", "--seed", "3", "--to", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    [package] = find_packages(tmp_path)
    assert package.spec == find_family(ROOT / "bentos", "drift").spec
    assert (package.synthetic, package.archive) == (True, said["archive"])
    assert package.metrics["accuracy"] == said["accuracy"] > 0.7
    assert package.metrics["training"]["seed"] == 3
    assert package.metrics["libraries"]["onnxruntime"]
    assert package.manifest
    assert {row["label"] for row in package.manifest["samples"]} == {"below", "above"}
    folder = package.file.parent
    assert sorted(tmp_path.rglob("*")) == sorted([folder, package.file, folder / "package.json"])
    unpack(package.archive, package.file, tmp_path / "bento")
    assert json.loads((tmp_path / "bento/src/artifact/spec.json").read_text()) == package.spec.document()


def test_the_same_seed_makes_the_same_model_and_replaces_the_package(tmp_path: Path) -> None:
    models = []
    for _ in range(2):
        assert run("drift", "--demo", "--to", str(tmp_path)).returncode == 0
        [archive] = (tmp_path / "drift").glob("*.tar.gz")
        unpack(archive.name.removesuffix(".tar.gz"), archive, tmp_path / "bento")
        models.append(hashlib.sha256((tmp_path / "bento/src/artifact/model.onnx").read_bytes()).hexdigest())
        shutil.rmtree(tmp_path / "bento")
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "trained on --data DIR or, with --demo"),
        (("--demo", "--data", "/nowhere"), "choose one"),
        (("--data", "/nowhere"), "/nowhere is not a folder"),
    ],
)
def test_a_package_that_cannot_be_made_leaves_nothing(tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    done = run("drift", "--to", str(tmp_path), *arguments)
    assert done.returncode == 1
    assert why in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
