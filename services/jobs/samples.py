"""Samples: added as files into the blob store and rows into Postgres, and chosen by the data policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from canari import dataset
from canari.blobs import FolderBlobs, inputs_folder, samples_folder
from canari.curation import MOST_CONFIDENT, ORIGINS, Curated, curate
from canari.family import Family
from canari.settings import Layout
from canari.spec import ModelSpec
from canari.store import samples, versions
from canari.types import Manifest, Origin, Sample
from services.jobs.making import generate
from services.jobs.progress import Report


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a folder: usable samples found, those that were new, and what was skipped, with why."""

    found: int
    added: int
    skipped: tuple[tuple[str, str], ...]


def add_folder(engine: Engine, layout: Layout, family: Family, folder: Path, report: Report) -> Added:
    """Keep the samples of a folder that holds a folder per label; those that are there already are left alone."""
    found = dataset.read_folder(folder, family, lambda done, total: report("read", done, total, {}))
    blobs = FolderBlobs(layout.blobs)
    for done, one in enumerate(found.samples, start=1):
        blobs.put(samples_folder(family.name), one.path.read_bytes())
        report("keep", done, len(found.samples), {})
    versions.put_spec(engine, family.spec)
    added = samples.add(engine, family.name, found.samples)
    return Added(len(found.samples), added, found.skipped)


def add_generated(
    engine: Engine, layout: Layout, family: Family, count: int, seed: int, report: Report
) -> list[Sample]:
    """Make `count` synthetic samples with the family's generator and keep them as such."""
    made = generate(layout, family, count, seed, report)
    versions.put_spec(engine, family.spec)
    samples.add(engine, family.name, made, synthetic=True)
    return made


def by_policy(engine: Engine, layout: Layout, spec: ModelSpec) -> Curated:
    """What a model may learn from now, by its data policy; the same samples give the same, in the same order."""
    allowed = ORIGINS[spec.data.train_on]
    labelled = [one for one in samples.all(engine, spec.name) if one.origin in allowed]
    sure = _sure(engine, layout, spec) if Origin.CONFIDENT in allowed else ()
    return curate(spec, labelled, sure, erased=samples.erased(engine, spec.name))


def recalled(engine: Engine, layout: Layout, spec: ModelSpec, digest: str) -> Manifest | None:
    """The manifest that was kept under a digest, with its files' places; None where it was not.

    What was erased since, or may be kept no longer, is gone: it is found missing where it is loaded.
    """
    body = samples.manifest(engine, digest)
    if body is None:
        return None
    users = {one.sha256: one for one in _sure(engine, layout, spec)} if _has_users(body) else {}
    named = {one.sha256: one for one in samples.all(engine, spec.name, synthetic=bool(body["synthetic"]))}
    rows = tuple(_recalled(spec, row, named.get(row["sha256"]), users.get(row["sha256"])) for row in body["samples"])
    return Manifest(spec.name, rows, bool(body["synthetic"]), tuple((name, why) for name, why in body["skipped"]))


def _has_users(body: Mapping[str, Any]) -> bool:
    return any(row.get("origin") == Origin.CONFIDENT for row in body["samples"])


def _recalled(spec: ModelSpec, row: Mapping[str, Any], known: Sample | None, sure: Sample | None) -> Sample:
    origin = Origin(row.get("origin", Origin.TEAM))
    found = sure if origin is Origin.CONFIDENT else known
    return Sample(
        sha256=row["sha256"],
        label=row["label"],
        group=row["group"],
        path=found.path if found else Path(samples_folder(spec.name)) / row["sha256"],
        evaluation=row["evaluation"],
        source=found.source if found else "",
        origin=origin,
        labelled_by=row.get("labelled_by"),
    )


def _sure(engine: Engine, layout: Layout, spec: ModelSpec) -> Iterator[Sample]:
    """Inputs that a version was sure of, newest first; one whose file has just expired is passed over."""
    blobs = FolderBlobs(layout.blobs)
    for one in samples.sure(engine, spec.name, least=spec.data.min_confidence, most=MOST_CONFIDENT):
        folder = inputs_folder(spec.name, one.subject)
        try:
            group = dataset.group_of(blobs.get(folder, one.sha256), spec.input.kind)
        except (KeyError, OSError):
            continue
        yield Sample(
            sha256=one.sha256,
            label=one.label,
            group=group,
            path=Path(folder) / one.sha256,
            evaluation=False,
            source=f"the input of prediction {one.prediction_id}",
            origin=Origin.CONFIDENT,
            labelled_by=f"version {one.version}",
        )
