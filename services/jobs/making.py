"""Making a version without a database: train, evaluate, export, build its bento, archive it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canari import dataset
from canari.archive import pack
from canari.bento import build_bento
from canari.blobs import FolderBlobs
from canari.errors import CanariError
from canari.evaluation import Evaluation, evaluate
from canari.export import export
from canari.family import Examples, Family, TrainedModel, TrainingRun
from canari.registry import library_versions
from canari.settings import Layout
from canari.types import Manifest, Sample
from services.jobs.progress import Report

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained: on the folder `data`, on `generate` synthetic samples, or else on what the team added."""

    seed: int = 0
    data: Path | None = None
    generate: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """What training leaves: the measured model, how far its export differs, and its archived bento."""

    model: TrainedModel
    evaluation: Evaluation
    difference: float
    archive: str

    def figures(self, order: Order) -> dict[str, Any]:
        """What a version keeps: its evaluation, how it was trained, and with which libraries, as JSON values."""
        training = {**self.parameters(order), "difference": self.difference, "git_revision": git_revision()}
        return {**self.evaluation.document(), "training": training, "libraries": library_versions()}

    def parameters(self, order: Order) -> dict[str, str | int | float]:
        """How it was trained."""
        return {**self.model.parameters, "seed": order.seed}


def make(
    layout: Layout, family: Family, order: Order, manifest: Manifest, tag: str, work: Path, report: Report
) -> Made:
    """Train on `manifest`, measure on what it holds out, and archive the bento in ``layout.archives``.

    `tag` is the bento's version; `work` is a folder in which a killed run is continued. Raises CanariError where the
    model is under its threshold or its export differs.
    """
    work.mkdir(parents=True, exist_ok=True)
    learned = _examples(layout, family, manifest, work, report, evaluation=False)
    held_out = _examples(layout, family, manifest, work, report, evaluation=True)
    run = TrainingRun(family.spec, order.seed, work / "checkpoints", report, order.options)
    model = family.train(learned, run)
    report("evaluate", 0, 1, {})
    scores = model.predict(held_out.inputs)
    abstain = family.spec.abstain
    measured = evaluate(scores, held_out.labels, family.spec.labels, abstain_below=abstain.below if abstain else 0.0)
    report("evaluate", 1, 1, {"accuracy": measured.accuracy})
    _check(family, measured)
    model.save(work / "model")
    report("export", 0, 3, {})
    difference = export(model, held_out.inputs, scores, work / "artifact" / "model.onnx")
    report("export", 1, 3, {"difference": difference})
    bento = build_bento(family, work / "artifact", tag, layout)
    report("export", 2, 3, {})
    archive = pack(bento, layout.archives)
    report("export", 3, 3, {})
    return Made(model, measured, difference, archive)


def read_data(data: Path, family: Family, report: Report) -> Manifest:
    """The dataset of a folder that holds a folder of samples per label."""
    found = dataset.read_folder(data, family, lambda done, total: report("read", done, total, {}))
    return dataset.manifest(family, found.samples, synthetic=False, skipped=found.skipped)


def generate(layout: Layout, family: Family, count: int, seed: int, report: Report) -> list[Sample]:
    """Make `count` synthetic samples with the family's generator, their files among `layout.blobs`."""
    blobs = FolderBlobs(layout.blobs)
    made = []
    for done, raw in enumerate(family.generate(count, seed), start=1):
        sha256 = blobs.put(place(family), raw.content)
        made.append(dataset.sample(raw.content, raw.label, Path(place(family)) / sha256, raw.source, family))
        report("generate", done, count, {})
    return made


def place(family: Family) -> str:
    """Where a family's samples lie among the blobs."""
    return f"samples/{family.name}"


def git_revision() -> str | None:
    """The revision this code is at, where it is a clone."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _check(family: Family, measured: Evaluation) -> None:
    threshold = family.spec.evaluation.threshold
    if measured.accuracy < threshold:
        raise CanariError(
            f"its accuracy of {measured.accuracy:.1%} on {measured.count} held-out samples is under the threshold of "
            f"{threshold:.1%}: add samples, train longer, or lower evaluation.threshold in model.yaml"
        )


def _examples(
    layout: Layout, family: Family, manifest: Manifest, work: Path, report: Report, *, evaluation: bool
) -> Examples:
    stage = "held out" if evaluation else "decode"
    return dataset.load(
        [one for one in manifest.samples if one.evaluation == evaluation],
        family,
        layout.blobs,
        work / f"{'evaluation' if evaluation else 'training'}.npy",
        lambda done, total: report(stage, done, total, {}),
    )
