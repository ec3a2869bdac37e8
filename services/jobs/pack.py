"""Packages: a trained version with everything a platform needs to take it in, and no database to make it."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from canari import dataset
from canari.errors import CanariError
from canari.evaluation import Evaluation
from canari.family import Family
from canari.settings import Layout
from canari.types import Manifest
from services.jobs.making import Made, Order, generate, make, read_data
from services.jobs.progress import Report

_TAG_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was written: its folder, its archive's SHA-256, and how good the version is."""

    folder: Path
    archive: str
    evaluation: Evaluation
    skipped: tuple[tuple[str, str], ...]


def pack_version(family: Family, order: Order, target: Path, report: Report) -> Package:
    """Train a version and write ``target/MODEL/package.json`` with ``SHA256.tar.gz`` beside it; one there is replaced.

    Raises CanariError where the version cannot be made or is too bad to serve; what was there then stays.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{family.name}-", dir=target) as folder:
        layout = Layout(Path(folder))
        manifest = _manifest(layout, family, order, report)
        tag = dataset.digest(manifest)[:_TAG_LENGTH]
        made = make(layout, family, order, manifest, tag, layout.training, report)
        fresh = layout.root / "package"
        fresh.mkdir()
        archive = f"{made.archive}.tar.gz"
        (layout.archives / archive).rename(fresh / archive)
        (fresh / "package.json").write_text(_document(family, order, manifest, made), encoding="utf-8")
        shutil.rmtree(target / family.name, ignore_errors=True)
        fresh.rename(target / family.name)
    return Package(target / family.name, made.archive, made.evaluation, manifest.skipped)


def _manifest(layout: Layout, family: Family, order: Order, report: Report) -> Manifest:
    if order.generate is not None:
        return dataset.manifest(family, generate(layout, family, order.generate, order.seed, report), synthetic=True)
    if order.data is not None:
        return read_data(order.data, family, report)
    raise CanariError("a package is trained on --data DIR, or with --demo on synthetic samples")


def _document(family: Family, order: Order, manifest: Manifest, made: Made) -> str:
    package = {
        "model": family.name,
        "spec": family.spec.document(),
        "archive": made.archive,
        "synthetic": manifest.synthetic,
        "metrics": made.figures(order),
        "manifest": dataset.document(manifest),
    }
    return json.dumps(package, ensure_ascii=False, indent=1) + "\n"
