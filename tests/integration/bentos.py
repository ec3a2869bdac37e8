"""Archives like those of bentos, small, and packages of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from canari.archive import pack
from canari.packages import Package
from canari.spec import ModelSpec


def archived(
    spec: ModelSpec, folder: Path, content: bytes = b"a model", reference: dict[str, Any] | None = None
) -> Path:
    """An archive that holds what a bento built with `spec` does, of all that is looked at."""
    artifact = folder / "bento" / "src" / "artifact"
    artifact.mkdir(parents=True, exist_ok=True)
    (artifact / "model.onnx").write_bytes(content)
    (artifact / "spec.json").write_text(json.dumps(spec.document()))
    if reference is not None:
        (artifact / "reference.json").write_text(json.dumps(reference))
    return folder / f"{pack(folder / 'bento', folder)}.tar.gz"


def packaged(spec: ModelSpec, folder: Path, content: bytes = b"a model") -> Package:
    """A package of such an archive."""
    file = archived(spec, folder, content)
    manifest = {"model": spec.name, "synthetic": True, "samples": [], "skipped": []}
    return Package(spec, file.name.removesuffix(".tar.gz"), file, {"accuracy": 0.9}, synthetic=True, manifest=manifest)


def write_package(package: Package, folder: Path) -> Path:
    """The package's folder under `folder`."""
    target = folder / package.model
    target.mkdir(parents=True)
    (target / package.file.name).write_bytes(package.file.read_bytes())
    held = {
        "model": package.model,
        "spec": package.spec.document(),
        "archive": package.archive,
        "synthetic": package.synthetic,
        "metrics": package.metrics,
        "manifest": package.manifest,
    }
    (target / "package.json").write_text(json.dumps(held))
    return target
