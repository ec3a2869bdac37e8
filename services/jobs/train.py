"""A version's life, from its number to its lineage."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine

from canari import dataset, evaluation_chart
from canari.archives import Archives
from canari.errors import CanariError
from canari.evaluation import Evaluation
from canari.family import Family
from canari.registry import Lineage, Registry
from canari.settings import Layout
from canari.store import references, samples, versions
from canari.training_lock import training_alone
from canari.types import Manifest, VersionState
from services.jobs.making import Made, Order, git_revision, make, read_data
from services.jobs.progress import Report
from services.jobs.samples import add_generated, by_policy

_LINEAGE, _PICTURE = "lineage.json", "evaluation.png"


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
class Terms:
    """What else a version is made by: the dataset, where it is settled already, and who hears of it.

    `numbered` hears the version's number before anything is trained; `judge` sees what was made before it is ready, and
    raises what refuses it.
    """

    manifest: Manifest | None = None
    numbered: Callable[[int], object] = lambda _: None
    judge: Callable[[Made], object] = lambda _: None


def train_version(
    engine: Engine,
    layout: Layout,
    archives: Archives,
    family: Family,
    order: Order,
    registry: Registry,
    report: Report,
    terms: Terms = Terms(),
) -> Outcome:
    """Make the model's next version, keep its archive, and return it ready.

    A run that was killed is continued by the same order: it finds its checkpoints and its number. Raises CanariError
    where the version cannot be made or is too bad to serve; it is then kept as failed, with the reason.
    """
    began = time.monotonic()
    with alone(layout, family):
        manifest = terms.manifest or _manifest(engine, layout, family, order, report)
        digest = dataset.digest(manifest)
        work = _work(layout, family, order, digest)
        _conclude(engine, registry, family, work)
        number = _number(engine, family, digest, synthetic=manifest.synthetic)
        terms.numbered(number)
        samples.put_manifest(engine, digest, family.name, dataset.document(manifest))
        try:
            made = make(layout, family, order, manifest, str(number), work, report)
            archive = layout.archives / f"{made.archive}.tar.gz"
            _judge(terms, made, archive)
            archives.keep(made.archive, archive)
        except Exception as error:
            versions.mark_failed(engine, family.name, number, str(error) or type(error).__name__)
            shutil.rmtree(work, ignore_errors=True)
            raise
        references.put(engine, family.name, number, made.reference)
        _keep_lineage(_lineage(family, order, manifest, number, made), work)
        versions.mark_ready(engine, family.name, number, archive=made.archive, metrics=made.figures(order))
        report("lineage", 0, 1, {})
        recorded = _conclude(engine, registry, family, work)
        report("lineage", 1, 1, {})
    seconds = time.monotonic() - began
    skipped = (*manifest.skipped, *made.skipped)
    return Outcome(number, made.archive, made.evaluation, skipped, manifest.synthetic, recorded, seconds)


def conclude(engine: Engine, layout: Layout, registry: Registry, family: Family, order: Order, digest: str) -> None:
    """Write the lineage of a version that got ready in a run that was killed right after; else do nothing."""
    with alone(layout, family):
        _conclude(engine, registry, family, _work(layout, family, order, digest))


def _judge(terms: Terms, made: Made, archive: Path) -> None:
    try:
        terms.judge(made)
    except Exception:
        archive.unlink()
        raise


def _keep_lineage(lineage: Lineage, work: Path) -> None:
    """Kept before the version is ready, so that a run which is killed then can be made up for."""
    (work / _PICTURE).write_bytes(lineage.picture)
    told = {name: value for name, value in asdict(lineage).items() if name != "picture"}
    unfinished = work / f"{_LINEAGE}.new"
    unfinished.write_text(json.dumps(told), encoding="utf-8")
    unfinished.replace(work / _LINEAGE)


def _conclude(engine: Engine, registry: Registry, family: Family, work: Path) -> bool:
    """Record the lineage that waits in `work` for a version that is ready; returns whether it was."""
    if not (work / _LINEAGE).exists():
        return False
    told = json.loads((work / _LINEAGE).read_text(encoding="utf-8"))
    if versions.version(engine, family.name, told["number"]).state is not VersionState.READY:
        (work / _LINEAGE).unlink()
        return False
    recorded = registry.record(Lineage(**told, picture=(work / _PICTURE).read_bytes()), work / "model")
    shutil.rmtree(work, ignore_errors=True)
    return recorded


def _work(layout: Layout, family: Family, order: Order, digest: str) -> Path:
    return layout.training / family.name / _key(family, order, digest)


def _manifest(engine: Engine, layout: Layout, family: Family, order: Order, report: Report) -> Manifest:
    if order.generate is not None:
        made = add_generated(engine, layout, family, order.generate, order.seed, report)
        return dataset.manifest(family, made, synthetic=True)
    if order.data is not None:
        return read_data(order.data, family, report)
    allowed = by_policy(engine, layout, family.spec)
    if not allowed.samples:
        raise CanariError(
            f"{family.name} has no samples to learn from: add some with `canari data add {family.name} DIR`, or train "
            f"on a folder with --data DIR"
        )
    return dataset.manifest(family, allowed.samples, synthetic=False)


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
def alone(layout: Layout, family: Family) -> Iterator[None]:
    """Raises CanariError where another training of the model runs."""
    with training_alone(layout, family.name) as held:
        if not held:
            raise CanariError(f"{family.name} is being trained already: wait for that to end")
        yield


def _lineage(family: Family, order: Order, manifest: Manifest, number: int, made: Made) -> Lineage:
    return Lineage(
        model=family.name,
        number=number,
        spec_hash=family.spec.hash,
        manifest_digest=dataset.digest(manifest),
        manifest=dataset.document(manifest),
        archive=made.archive,
        parameters=made.parameters(order),
        figures=made.evaluation.document(),
        picture=evaluation_chart.draw(made.evaluation, f"{family.spec.title.en}, version {number}"),
        synthetic=manifest.synthetic,
        git_revision=git_revision(),
    )
