"""A version's life, from its number to its lineage."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from canari import dataset, evaluation_chart
from canari.archive import pack
from canari.bento import build_bento
from canari.errors import CanariError
from canari.evaluation import Evaluation, evaluate
from canari.export import export
from canari.family import Examples, Family, TrainedModel, TrainingRun
from canari.registry import Lineage, Registry, library_versions
from canari.settings import Layout
from canari.store import samples, versions
from canari.types import Manifest
from services.jobs.progress import Report
from services.jobs.samples import add_generated

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained: on the folder `data`, on `generate` synthetic samples, or else on what the team added."""

    seed: int = 0
    data: Path | None = None
    generate: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A version that is ready."""

    number: int
    archive: str
    evaluation: Evaluation
    skipped: tuple[tuple[str, str], ...]
    synthetic: bool
    lineage: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class _Made:
    """What training leaves: the measured model, how far its export differs, and its archived bento."""

    model: TrainedModel
    evaluation: Evaluation
    difference: float
    archive: str


def train_version(
    engine: Engine, layout: Layout, family: Family, order: Order, registry: Registry, report: Report
) -> Outcome:
    """Make the model's next version and return it ready.

    A run that was killed is continued by the same order: it finds its checkpoints and its number. Raises CanariError
    where the version cannot be made or is too bad to serve; it is then kept as failed, with the reason.
    """
    began = time.monotonic()
    with _alone(layout, family):
        manifest = _manifest(engine, layout, family, order, report)
        digest = dataset.digest(manifest)
        number = _number(engine, family, digest, synthetic=manifest.synthetic)
        samples.put_manifest(engine, digest, family.name, dataset.document(manifest))
        work = layout.training / family.name / _key(family, order, digest)
        try:
            made = _make(layout, family, order, manifest, number, work, report)
        except Exception as error:
            versions.mark_failed(engine, family.name, number, str(error) or type(error).__name__)
            shutil.rmtree(work, ignore_errors=True)
            raise
        lineage = _lineage(family, order, manifest, number, made)
        training = {**lineage.parameters, "difference": made.difference, "git_revision": lineage.git_revision}
        figures = {**lineage.figures, "training": training, "libraries": library_versions()}
        versions.mark_ready(engine, family.name, number, archive=made.archive, metrics=figures)
        report("lineage", 0, 1, {})
        recorded = registry.record(lineage, work / "model")
        report("lineage", 1, 1, {})
        shutil.rmtree(work, ignore_errors=True)
    seconds = time.monotonic() - began
    return Outcome(number, made.archive, made.evaluation, manifest.skipped, manifest.synthetic, recorded, seconds)


def _make(
    layout: Layout, family: Family, order: Order, manifest: Manifest, number: int, work: Path, report: Report
) -> _Made:
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
    bento = build_bento(family, work / "artifact", number, layout)
    report("export", 2, 3, {})
    archive = pack(bento, layout.archives)
    report("export", 3, 3, {})
    return _Made(model, measured, difference, archive)


def _check(family: Family, measured: Evaluation) -> None:
    threshold = family.spec.evaluation.threshold
    if measured.accuracy < threshold:
        raise CanariError(
            f"its accuracy of {measured.accuracy:.1%} on {measured.count} held-out samples is under the threshold of "
            f"{threshold:.1%}: add samples, train longer, or lower evaluation.threshold in model.yaml"
        )


def _manifest(engine: Engine, layout: Layout, family: Family, order: Order, report: Report) -> Manifest:
    if order.generate is not None:
        made = add_generated(engine, layout, family, order.generate, order.seed, report)
        return dataset.manifest(family, made, synthetic=True)
    if order.data is not None:
        found = dataset.read_folder(order.data, family, lambda done, total: report("read", done, total, {}))
        return dataset.manifest(family, found.samples, synthetic=False, skipped=found.skipped)
    added = samples.all(engine, family.name)
    if not added:
        raise CanariError(
            f"{family.name} has no samples to learn from: add some with `canari data add {family.name} DIR`, or train "
            f"on a folder with --data DIR"
        )
    return dataset.manifest(family, added, synthetic=False)


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


def _number(engine: Engine, family: Family, digest: str, *, synthetic: bool) -> int:
    """A new number, or that of a killed run on the same data and specification."""
    left = versions.resume(engine, family.name, digest)
    if left is not None:
        if versions.version(engine, family.name, left).spec_hash == family.spec.hash:
            return left
        versions.mark_failed(engine, family.name, left, "the specification changed before its training was done")
    return versions.allot(engine, family.spec, manifest_digest=digest, synthetic=synthetic)


def _key(family: Family, order: Order, digest: str) -> str:
    """Names the folder in which the same order finds what a killed run left."""
    identity = [digest, family.spec.hash, order.seed, sorted(order.options.items())]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


@contextmanager
def _alone(layout: Layout, family: Family) -> Iterator[None]:
    """One training per model at a time; the lock ends with the process, however it ends."""
    layout.training.mkdir(parents=True, exist_ok=True)
    with (layout.training / f"{family.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CanariError(f"{family.name} is being trained already: wait for that to end") from None
        yield


def _lineage(family: Family, order: Order, manifest: Manifest, number: int, made: _Made) -> Lineage:
    return Lineage(
        model=family.name,
        number=number,
        spec_hash=family.spec.hash,
        manifest_digest=dataset.digest(manifest),
        manifest=dataset.document(manifest),
        archive=made.archive,
        parameters={**made.model.parameters, "seed": order.seed},
        figures=made.evaluation.document(),
        picture=evaluation_chart.draw(made.evaluation, f"{family.spec.title.en}, version {number}"),
        synthetic=manifest.synthetic,
        git_revision=_git_revision(),
    )


def _git_revision() -> str | None:
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
