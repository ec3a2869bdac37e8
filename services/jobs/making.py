"""Making a version without a database: train, evaluate, export, build its bento, archive it."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari import dataset
from canari.archive import pack
from canari.bento import build_bento
from canari.blobs import FolderBlobs, samples_folder
from canari.errors import CanariError
from canari.evaluation import Evaluation, evaluate
from canari.export import export, onnx_embedding
from canari.family import Array, Examples, Family, TrainedModel, TrainingRun
from canari.measures import Reference, refer, sampled
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


class TooBadError(CanariError):
    """The version is too bad to serve: trained again on the same samples it would be no better."""


@dataclass(frozen=True, slots=True)
class Made:
    """What training leaves: the measured model, how far its export differs, its inputs' places, and its bento.

    `held_out` is what it was measured on, and `right` (n,) which of it has the right answer; `skipped` are samples of
    the manifest that are gone or cannot be read.
    """

    model: TrainedModel
    evaluation: Evaluation
    difference: float
    reference: Reference
    archive: str
    held_out: Examples
    right: NDArray[np.bool_]
    skipped: tuple[tuple[str, str], ...] = ()

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
    skipped: list[tuple[str, str]] = []
    learned = _examples(layout, family, manifest, work, report, skipped, evaluation=False)
    held_out = _examples(layout, family, manifest, work, report, skipped, evaluation=True)
    _require_labels(family, learned)
    weights = dataset.class_weights(learned.labels, len(family.spec.labels))
    run = TrainingRun(family.spec, order.seed, work / "checkpoints", report, order.options, weights)
    model = family.train(learned, run)
    report("evaluate", 0, 1, {})
    scores = model.predict(held_out.inputs)
    abstain = family.spec.abstain
    measured = evaluate(scores, held_out.labels, family.spec.labels, abstain_below=abstain.below if abstain else 0.0)
    report("evaluate", 1, 1, {"accuracy": measured.accuracy})
    _check(family, measured)
    model.save(work / "model")
    report("export", 0, 4, {})
    artifact = work / "artifact"
    difference = export(model, held_out.inputs, scores, artifact / "model.onnx")
    report("export", 1, 4, {"difference": difference})
    reference = make_reference(family, order, learned.inputs, held_out.inputs, scores, artifact / "model.onnx")
    (artifact / "reference.json").write_text(json.dumps(reference.document()), encoding="utf-8")
    report("export", 2, 4, {})
    bento = build_bento(family, artifact, tag, layout)
    report("export", 3, 4, {})
    archive = pack(bento, layout.archives)
    report("export", 4, 4, {})
    right = scores.argmax(axis=1) == held_out.labels
    return Made(model, measured, difference, reference, archive, held_out, right, tuple(skipped))


def make_reference(
    family: Family, order: Order, learned: Array, held_out: Array, scores: Array, model: Path
) -> Reference:
    """Where a version's inputs lie on its measures, and what it answers, `scores` (n, labels), on those held out.

    `model` is its exported file. Of many inputs, some are drawn by the order's seed.
    """
    abstain, labels = family.spec.abstain, family.spec.labels
    answers = Counter(
        abstain.label if abstain and row.max() < abstain.below else labels[int(row.argmax())] for row in scores
    )
    seen, unseen = (onnx_embedding(model, sampled(inputs, order.seed)) for inputs in (learned, held_out))
    embeddings = None if seen is None or unseen is None else (seen, unseen)
    return refer(family.spec.input, sampled(learned, order.seed), answers, embeddings)


def read_data(data: Path, family: Family, report: Report) -> Manifest:
    """The dataset of a folder that holds a folder of samples per label."""
    found = dataset.read_folder(data, family, lambda done, total: report("read", done, total, {}))
    return dataset.manifest(family, found.samples, synthetic=False, skipped=found.skipped)


def generate(layout: Layout, family: Family, count: int, seed: int, report: Report) -> list[Sample]:
    """Make `count` synthetic samples with the family's generator, their files among `layout.blobs`."""
    blobs = FolderBlobs(layout.blobs)
    folder, made = samples_folder(family.name), []
    for done, raw in enumerate(family.generate(count, seed), start=1):
        sha256 = blobs.put(folder, raw.content)
        made.append(dataset.sample(raw.content, raw.label, Path(folder) / sha256, raw.source, family))
        report("generate", done, count, {})
    return made


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
        raise TooBadError(
            f"its accuracy of {measured.accuracy:.1%} on {measured.count} held-out samples is under the threshold of "
            f"{threshold:.1%}: add samples, train longer, or lower evaluation.threshold in model.yaml"
        )


def _require_labels(family: Family, learned: Examples) -> None:
    """A manifest holds every label; what is left of it may not."""
    lacking = [label for index, label in enumerate(family.spec.labels) if not (learned.labels == index).any()]
    if lacking:
        raise CanariError(f"the files of every sample of {' and '.join(lacking)} to learn from are gone: put them back")


def _examples(
    layout: Layout,
    family: Family,
    manifest: Manifest,
    work: Path,
    report: Report,
    skipped: list[tuple[str, str]],
    *,
    evaluation: bool,
) -> Examples:
    stage = "held out" if evaluation else "decode"
    return dataset.load(
        [one for one in manifest.samples if one.evaluation == evaluation],
        family,
        layout.blobs,
        work / f"{'evaluation' if evaluation else 'training'}.npy",
        lambda done, total: report(stage, done, total, {}),
        lambda one, why: skipped.append((one.source or one.sha256, why)),
    )
